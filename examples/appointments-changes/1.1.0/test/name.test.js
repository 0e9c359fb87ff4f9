import assert from 'node:assert/strict';
import { test } from 'node:test';
import { build } from '../app.js';

test('the month has a name', async () => {
  assert.equal((await build().inject('/appointments/3')).json().name.slice(0, 3), 'Mar');
});
