// What weroll reads as global.SETTING. Redis carries the messages of its Ecosystem.
const port = Number(process.env.PORT || 3000);

module.exports = {
  env: 'localdev',
  host: '127.0.0.1',
  port,
  site: `http://127.0.0.1:${port}/`,
  siteName: 'example',
  session: {},
  cdn: { res: `http://127.0.0.1:${port}` },
  compress: { api: false },
  model: {
    redis: { host: '127.0.0.1', port: Number(process.env.REDIS_PORT || 6379), prefix: { '*': 'example_' } },
  },
  ecosystem: { name: 'example', port: Number(process.env.ECO_PORT || 3100), servers: {} },
};
