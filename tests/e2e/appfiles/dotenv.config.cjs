require('dotenv').config({ path: require('path').join(__dirname, '.env'), quiet: true });
console.log('a configuration may talk');

module.exports = {
  apps: [{
    name: `dotenv-${process.env.STAGE}`,
    script: 'web.js',
    env: { X_STAGE: process.env.STAGE, X_URL: process.env.URL },
  }],
};
