import Fastify from 'fastify';
import { appointmentsIn } from './calendar.js';

/** The service, not yet listening, so that tests can call it without a port. */
export function build() {
  const app = Fastify();
  app.get('/healthz', async () => ({ status: 'ok' }));
  app.get('/', async () => ({ service: 'appointments', version: process.env.BASCULE_VERSION ?? 'dev' }));
  app.get('/appointments/:month', async (request, reply) => {
    const month = Number(request.params.month);
    if (!Number.isInteger(month) || month < 1 || month > 12) {
      return reply.code(400).send({ error: 'month is a number from 1 to 12' });
    }
    return appointmentsIn(month);
  });
  return app;
}
