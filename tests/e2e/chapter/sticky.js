// Clients of several addresses, by polling alone: each must meet the same instance again and again.
// node sticky.js PORT
const { Agent } = require('node:http');
const io = require('socket.io-client-4').io;

const port = process.argv[2];
const give_up = setTimeout(() => process.exit(1), 20000);

async function one(number) {
  const agent = new Agent({ keepAlive: false, localAddress: `127.0.0.${number}` });
  const socket = io(`http://127.0.0.1:${port}`, { transports: ['polling'], agent, forceNew: true, reconnection: false });
  socket.on('connect_error', (error) => {
    console.error(error);
    process.exit(1);
  });
  const instance = await new Promise((done) => socket.on('welcome', done));
  for (let turn = 0; turn < 5; turn += 1) {
    const answer = await socket.emitWithAck('say', 'hello');
    if (answer !== `hello (by ${instance})`) throw new Error(`${answer}, not by ${instance}`);
  }
  socket.disconnect();
  return instance;
}

Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map((n) => one(n + 10))).then((instances) => {
  clearTimeout(give_up);
  console.log(new Set(instances).size);
  process.exit(0);
}, (error) => {
  console.error(error);
  process.exit(1);
});
