// One worker, every way to listen: what several instances ask for, they share.
// wpm start main.js -i 2 --listen 127.0.0.1:3050
// Ports and paths come from the environment; `tell` writes what came of it.
const dgram = require('dgram');
const http = require('http');
const https = require('https');

const worker = require('cluster').worker.id;
const port = Number(process.env.PORT || 3000);
const tell = (what, said) => console.log(`${what} ${said}`);
const answer = (request, response) => {
  response.setHeader('Connection', 'close');
  response.end(String(worker));
};

function listen(what, server, target) {
  server.on('error', (error) => tell(what, error.code));
  server.listen(target, () => tell(what, JSON.stringify(server.address())));
}

listen('tcp', http.createServer(answer), { port, host: '127.0.0.1' });
listen('any', http.createServer(answer), { port: 0, host: '127.0.0.1' });
listen('unix', http.createServer(answer), { path: process.env.SOCKET || 'app.sock' });
listen('handed', http.createServer(answer), { fd: 3 });
// A key that both sides know: no certificate is needed for an example.
const psk = { ciphers: 'PSK', minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' };
const secure = https.createServer({ ...psk, pskCallback: () => Buffer.alloc(16, 7) }, answer);
listen('https', secure, { port: port + 1, host: '127.0.0.1' });
// One instance gets it, the others are told that it is taken.
listen('exclusive', http.createServer(answer), { port: port + 2, host: '127.0.0.1', exclusive: true });
// From Node 23.1 on each instance has a socket of its own, which wpm does not hold; before, it is shared.
listen('reuse', http.createServer(answer), { port: port + 5, host: '127.0.0.1', reusePort: true });
listen('foreign', http.createServer(answer), { port: 0, host: '203.0.113.1' });

const socket = dgram.createSocket('udp4');
socket.on('message', (words, from) => socket.send(`${words} ${worker}`, from.port, from.address));
socket.bind({ port: port + 3, address: '127.0.0.1' }, () => tell('udp', JSON.stringify(socket.address())));
