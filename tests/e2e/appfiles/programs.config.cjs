exports = module.exports = {};

exports.apps = [
  { name: 'programs-shell', script: './tick.sh', interpreter: 'bash', args: 'fast' },
  { name: 'programs-python', script: './tick.py', env: { X_PYTHON: true } },
  { name: 'programs-command', script: 'sleep', args: '1000', interpreter: 'none' },
];
