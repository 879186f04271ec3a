// The app of the tests. Argument: what to do, as JSON. It tells the primary what came of it.
'use strict';

const cluster = require('cluster');
const dgram = require('dgram');
const http = require('http');
const https = require('https');

const task = JSON.parse(process.argv[2]);
const tell = (message) => process.send(message);
const me = () => `${cluster.worker ? cluster.worker.id : 'none'} ${process.pid}`;

const listen = (server, target, told = {}) => {
  server.on('error', (error) => tell({ error: error.code, message: error.message }));
  server.listen(target, () => tell({ at: server.address(), ...told }));
  return server;
};

// "/hold" is answered when the connection that asks is told to by a message.
const held = [];
const serve = (request, response) => {
  if (request.url === '/hold') {
    held.push(response);
    tell('held');
  } else {
    response.end(me());
  }
};

// TLS by a shared key: no certificate is needed.
const psk = { ciphers: 'PSK', maxVersion: 'TLSv1.2', minVersion: 'TLSv1.2' };
const key = Buffer.from('00112233445566778899aabbccddeeff', 'hex');

const actions = {
  http: () => listen(http.createServer(serve), task.listen),
  twice: () => {
    const first = listen(http.createServer(serve), task.listen);
    first.once('listening', () => listen(http.createServer(serve), first.address()));
  },
  again: () => {
    const server = http.createServer(serve);
    let times = 0;
    server.on('listening', () => {
      tell({ at: server.address() });
      if (++times < 3) server.close(() => server.listen(task.listen));
    });
    server.on('error', (error) => tell({ error: error.code }));
    server.listen(task.listen);
  },
  https: () => {
    const server = https.createServer({ ...psk, pskCallback: () => key }, serve);
    listen(server, task.listen);
    server.on('listening', () => tell({ tickets: server.getTicketKeys().toString('hex') }));
  },
  get: () => {
    const client = { ...psk, pskCallback: () => ({ psk: key, identity: 'x' }), checkServerIdentity: () => undefined };
    https.get({ host: '127.0.0.1', port: task.port, agent: false, ...client }, (response) => {
      tell({ status: response.statusCode });
      response.resume();
    }).on('error', (error) => tell({ error: error.code, message: error.message }));
  },
  udp: () => {
    const socket = dgram.createSocket('udp4');
    socket.on('message', (message, from) => socket.send(`${message} ${me()}`, from.port, from.address));
    socket.on('error', (error) => tell({ error: error.code }));
    socket.bind({ port: 0, address: '127.0.0.1' }, () => tell({ at: socket.address() }));
  },
  messages: () => tell('ready'),
};

process.on('message', (message) => {
  if (message === 'answer') held.splice(0).forEach((response) => response.end(me()));
  if (message === 'leave') cluster.worker.disconnect();
  if (message && message.echo) tell({ echoed: message.echo });
});

actions[task.do]();
