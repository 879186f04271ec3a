'use strict';

const base = { script: './web.js', autorestart: false, env: { X_SHARED: 'yes' } };

const worker = (queue) => ({
  ...base,
  name: `spread-${queue}`,
  args: ['--queue', queue],
  env: { ...base.env, X_QUEUE: queue },
});

module.exports = { apps: ['mail', 'images', 'reports'].map(worker) };
