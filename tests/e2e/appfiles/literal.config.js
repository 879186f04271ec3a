// A file as `pm2 init` writes it, and as many are.
module.exports = {
  apps: [{
    name: 'literal-web', // shown in the list
    script: './web.js',
    args: '--port 3000 --title "a b"',
    env: { X_MODE: 'development', X_PORT: 3000 },
    env_production: { X_MODE: 'production' },
  }],
};
