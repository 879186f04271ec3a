// Websockets of weroll: each instance has a port of its own, counted up from the base, and what one of
// them broadcasts reaches the clients of all, by redis.
// wpm start realtime/main.js -i 4
const App = require('weroll/App');

const app = new App();

app.addTask((done) => {
  const redis = { prefix: 'example', '*': { host: '127.0.0.1', port: Number(process.env.REDIS_PORT || 6379), option: {} } };
  const server = require('weroll/web/Realtime').createServer({
    port: Number(process.env.BASE_PORT || 3001),
    allowGuest: true,
    shakehand: false,
    cluster: { enable: true, redis },
  });
  server.on('shakeHandSuccess', (socket) => {
    socket.on('say', (words) => server.broadcastToAll('said', `${words} (by ${process.env.WPM_INSTANCE})`));
  });
  server.start();
  done();
});

app.run();
