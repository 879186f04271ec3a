module.exports = {
  apps: [{
    name: 'logs-one',
    script: 'web.js',
    out_file: './out/one.log',
    error_file: '/dev/null',
    mergeLogs: true,
  }, {
    name: 'logs-two',
    script: 'web.js',
    instances: 2,
    execMode: 'fork',
    output: './out/two.log',
    nodeArgs: '--no-warnings --stack-trace-limit=20',
  }],
};
