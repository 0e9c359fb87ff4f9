'use strict';
// Reminds people of their appointments. What it knows, it asks the appointments service for.
const http = require('node:http');

const server = http.createServer((request, response) => {
  if (request.url === '/healthz') return response.end('ok\n');
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ service: 'reminders', version: process.env.BASCULE_VERSION ?? null }));
});
server.listen(Number(process.env.PORT ?? 8081), process.env.HOST ?? '127.0.0.1');
process.on('SIGTERM', () => server.close(() => process.exit(0)));
