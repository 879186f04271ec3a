// Loaded by wpm before a Node program whose instances shall each have a port of their own
// (--port-step BASE). Instance n listens on BASE + n where the program says BASE; every other port
// is left as it is, so a program that counts by itself is not counted twice.
//
// WPM_PORT_STEP is "BASE[,BASE...]+n".
'use strict';

const [list, step] = String(process.env.WPM_PORT_STEP || '').split('+');
const bases = new Set(list.split(',').map(Number));
const offset = Number(step);

if (Number.isInteger(offset) && offset > 0) {
  const { Server } = require('net');
  const { listen } = Server.prototype;

  // A port is a number, or digits; anything else in its place is a path or a handle.
  const isBase = (port) =>
    (typeof port === 'number' || (typeof port === 'string' && /^[0-9]+$/.test(port))) && bases.has(Number(port));

  const moved = (target) => {
    if (isBase(target)) return Number(target) + offset;
    const byOptions = target !== null && typeof target === 'object' && isBase(target.port);
    // Options that carry a descriptor or a handle name their socket by that, not by the port.
    if (byOptions && !(target.fd >= 0) && !target.handle && !target._handle) {
      return { ...target, port: Number(target.port) + offset };
    }
    return target;
  };

  Server.prototype.listen = function (target, ...rest) {
    return arguments.length === 0 ? listen.call(this) : listen.call(this, moved(target), ...rest);
  };
}
