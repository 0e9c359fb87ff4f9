import { build } from './app.js';

const app = build();
await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT ?? 8080) });
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.on(signal, () => app.close().then(() => process.exit(0)));
}
