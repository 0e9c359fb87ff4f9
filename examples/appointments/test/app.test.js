import assert from 'node:assert/strict';
import { test } from 'node:test';
import { build } from '../app.js';

test('weekends are never free', async () => {
  const answer = await build().inject('/appointments/2');
  assert.equal(answer.statusCode, 200);
  assert.deepEqual(answer.json().free.slice(0, 5), [2, 3, 4, 5, 6]);
});

test('a month that does not exist is refused', async () => {
  assert.equal((await build().inject('/appointments/13')).statusCode, 400);
});

test('it says that it is well', async () => {
  assert.equal((await build().inject('/healthz')).statusCode, 200);
});
