// POST /api { "method": "who.tell" } says which instance has answered.
exports.config = { name: 'who', enabled: true, security: { tell: {} } };

exports.tell = async () => ({ pid: process.pid, instance: Number(process.env.WPM_INSTANCE) });
