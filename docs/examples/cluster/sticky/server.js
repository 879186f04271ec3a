// socket.io on one port, in any number of instances, without redis and without a proxy: wpm brings each
// client to the same instance again, which polling needs.
// wpm start sticky/server.js -i max --balance sticky
const { createServer } = require('node:http');
const { Server } = require('socket.io');

const server = createServer((request, response) => response.end(`${process.env.WPM_INSTANCE}\n`));

new Server(server).on('connection', (socket) => {
  socket.emit('welcome', process.env.WPM_INSTANCE);
  socket.on('say', (words, answer) => answer(`${words} (by ${process.env.WPM_INSTANCE})`));
});

server.listen(Number(process.env.PORT || 3000));
