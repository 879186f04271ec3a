// Connects a client to each address; lets each say something and waits until all have heard it. It is
// said again until then: an instance that has just come up takes clients before redis knows of it.
// node broadcast.js TRANSPORTS ADDRESS...
const io = require('socket.io-client');

const [transports, ...addresses] = process.argv.slice(2);
const clients = addresses.map((address) =>
  io(address, { transports: transports.split(','), forceNew: true, reconnectionDelay: 100 }));
const connected = clients.map((client) => new Promise((done) => client.on('connect', done)));

const give_up = setTimeout(() => {
  console.error(`connected: ${clients.map((client) => client.connected)}`);
  process.exit(1);
}, 60000);

Promise.all(connected).then(async () => {
  for (const [speaker, client] of clients.entries()) {
    const words = `words ${speaker} ${Date.now()}`;
    const heard = clients.map((listener) => new Promise((done) => {
      listener.on('said', (said) => said.startsWith(words) && done(said));
    }));
    const say = () => client.emit('say', words);
    const again = setInterval(say, 500);
    say();
    console.log((await Promise.all(heard))[0]);
    clearInterval(again);
  }
  clearTimeout(give_up);
  process.exit(0);
});
