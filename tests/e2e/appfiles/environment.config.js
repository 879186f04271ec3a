const path = require('path');
const os = require('os');

const root = path.join(__dirname, 'app');

module.exports = {
  apps: [
    {
      name: 'environment-api',
      cwd: root,
      script: path.join(root, 'api.js'),
      instances: Math.min(os.cpus().length, 2),
      exec_mode: 'fork',
      env: { X_TOKEN: process.env.TOKEN || 'none', X_ABSENT: process.env.NOT_THERE, X_ROOT: root },
    },
  ],
};
