import { readFileSync } from 'node:fs';

const { version } = JSON.parse(readFileSync(new URL('./version.json', import.meta.url), 'utf8'));

export default async () => ({
  apps: [{ name: 'modern-web', script: 'web.js', env: { X_VERSION: version } }],
});
