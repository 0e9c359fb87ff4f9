// What waits for someone, and who is told of events, as a person meets it in a browser.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { openPage, signIn, startBrowser, startPlatform, until } from './platform.js';

let platform;
let browser;
let password;
const PROJECT = 'demo/told';

before(async () => {
  platform = await startPlatform();
  browser = await startBrowser();
  platform.cli('group', 'create', 'demo');
  platform.cli('project', 'create', PROJECT);
  password = platform.json('user', 'create', 'sre').initial_password;
  platform.cli('group', 'set-member', 'demo', 'sre', '--role', 'developer');
}, { timeout: 120_000 });

after(async () => {
  await browser?.close();
  await platform?.stop();
});

test('a mention waits behind the bell, is found by keyboard, and is done by one press', async () => {
  platform.cli('issue', 'create', PROJECT, 'Nobody can sign in', '--description', '@sre, please look');
  platform.cli('issue', 'create', PROJECT, 'Print a list', '--description', '@sre, this too');
  const { page, context, faults } = await openPage(browser, platform.url, { viewport: { width: 375, height: 720 } });
  await signIn(page, 'sre', password);
  await until('the bell to count two', async () => {
    await page.goto('/');
    return (await page.textContent('.topbar')).includes('2') && (await page.$('[data-todo-count]'));
  });
  await page.keyboard.press('g');
  await page.keyboard.press('w');
  await page.waitForURL('**/-/todos');
  assert.equal(await page.locator('[data-todo=mentioned]').count(), 2);
  assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= 376, 'wider than a phone');
  await page.getByRole('button', { name: 'Done: Print a list' }).press('Enter');
  await page.waitForLoadState();
  assert.equal(await page.locator('[data-todo=mentioned]').count(), 1);
  assert.equal((await page.textContent('[data-todo-count]')).trim(), '1');
  await page.selectOption('select[name=action]', 'assigned');
  await page.getByRole('button', { name: 'Filter' }).click();
  assert.match(await page.textContent('.empty-state'), /Nothing here/);
  await page.goto('/-/todos');
  await page.getByRole('link', { name: 'Nobody can sign in' }).click();
  await page.fill('textarea[name=body]', 'I look.');
  await page.getByRole('button', { name: 'Comment', exact: true }).click();
  await page.waitForLoadState();
  await until('the answer to end it', async () => {
    await page.goto('/-/todos');
    return /Nothing waits for you/.test(await page.textContent('main'));
  });
  assert.equal(await page.$('[data-todo-count]'), null);
  assert.deepEqual(faults, []);
  await context.close();
});

test('a webhook is made, tested, seen failing, and nothing inside is called', async () => {
  const { page, context } = await openPage(browser, platform.url, { viewport: { width: 375, height: 720 } });
  await signIn(page, 'admin', platform.password);
  await page.goto(`/${PROJECT}/-/settings/webhooks`);
  await page.fill('input[name=url]', 'http://127.0.0.1:9/hook');
  await page.getByRole('button', { name: 'Make' }).click();
  await page.waitForLoadState();
  assert.match(await page.textContent('main'), /webhook_allow/);

  await page.goto(`/${PROJECT}/-/settings/webhooks`);
  await page.fill('input[name=url]', 'https://hooks.invalid/hook');
  await page.getByLabel('Tags').check();
  await page.getByRole('button', { name: 'Make' }).click();
  await page.waitForSelector('[data-secret]');
  assert.match(await page.textContent('[data-secret]'), /^whsec_/);
  await page.goto(`/${PROJECT}/-/settings/webhooks`);
  await page.getByRole('link', { name: /hooks\.invalid/ }).click();
  assert.equal(await page.$('[data-secret]'), null, 'the secret is shown once');
  assert.equal(await page.isChecked('input[value=tag_push]'), true);
  const hook = page.url();
  await page.getByRole('button', { name: 'Send a test' }).click();
  await page.waitForURL('**/deliveries/**');
  assert.match(await page.textContent('main'), /"test": true/);
  await until('a try', async () => {
    await page.goto(hook);
    return /no answer/.test(await page.textContent('main'));
  });
  assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= 376, 'wider than a phone');
  await context.close();
});
