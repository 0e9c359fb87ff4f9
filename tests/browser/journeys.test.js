// What a person does in a browser, on the real product.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import path from 'node:path';
import { openPage, seed, signIn, startBrowser, startPlatform, until } from './platform.js';

const PROJECT = 'demo/hello';
let platform;
let browser;

before(async () => {
  platform = await startPlatform();
  browser = await startBrowser();
  seed(platform);
}, { timeout: 120_000 });

after(async () => {
  await browser?.close();
  await platform?.stop();
});

/** The main pages, with what must be seen there. */
const PAGES = [
  ['/', 'Home'],
  ['/explore', 'demo/hello'],
  [`/${PROJECT}`, 'Says hello'],
  [`/${PROJECT}/-/commits`, 'Say hello'],
  [`/${PROJECT}/-/pipelines`, '1.0.0'],
  [`/${PROJECT}/-/issues`, 'No issues here'],
  [`/${PROJECT}/-/board`, 'To do'],
  [`/${PROJECT}/-/labels`, 'priority'],
  [`/${PROJECT}/-/milestones`, 'No milestones yet'],
  ['/demo/-/board', 'Board of demo'],
  [`/${PROJECT}/-/releases`, '1.0.0'],
  [`/${PROJECT}/-/environments`, 'staging'],
  [`/${PROJECT}/-/telemetry`, ''],
  [`/${PROJECT}/-/incidents`, ''],
  [`/${PROJECT}/-/insights`, ''],
  [`/${PROJECT}/-/settings`, ''],
  [`/${PROJECT}/-/settings/workflow`, 'every commit names its issue'],
  [`/${PROJECT}/-/settings/reviews`, 'Approvals'],
  ['/demo/-/workflow', 'no secret is pushed'],
  ['/environments', 'demo/hello'],
  ['/plans', 'demo/hello'],
  ['/plans/staging', 'Why not?'],
  ['/products', 'demo/hello'],
  ['/products/demo/hello', 'Where is my commit?'],
  ['/products/demo/hello?commit=1.0.0&environment=staging&version=1.0.0', 'is in the release 1.0.0'],
  ['/parity?all=true', 'demo/hello'],
  ['/agents', 'Enrol a machine'],
  ['/incidents', ''],
  ['/insights', ''],
  ['/ledger', 'created the project'],
  ['/settings', 'admin'],
  ['/-/todos', 'To-dos'],
  ['/settings/mail', 'Merge requests'],
  ['/demo/hello/-/settings/webhooks', 'New webhook'],
  ['/demo/-/webhooks', 'any project of this group'],
  ['/admin/mail', 'mail_host'],
  ['/admin', ''],
];

async function deployed() {
  await until('staging to serve 1.0.0', () =>
    JSON.stringify(platform.json('environment', 'list', PROJECT)).includes('"serving":{'));
}

test('a stranger is sent to sign-in and comes back to where they were going', async () => {
  const { page, context, faults } = await openPage(browser, platform.url);
  await page.goto(`/${PROJECT}/-/commits`);
  assert.match(page.url(), /\/sign-in\?next=/);
  await page.fill('input[name=username]', 'admin');
  await page.fill('input[name=password]', 'wrong');
  await page.keyboard.press('Enter');
  await page.waitForLoadState();
  assert.match(await page.textContent('body'), /password/i);
  await page.fill('input[name=username]', 'admin');
  await page.fill('input[name=password]', platform.password);
  await page.keyboard.press('Enter');
  await page.waitForURL(`**/${PROJECT}/-/commits`);
  assert.deepEqual(faults.filter((fault) => !/status of 4\d\d/.test(fault)), []);
  await context.close();
});

test('every main page opens, asks no other host, and has no script errors', async () => {
  await deployed();
  const { page, context, faults } = await openPage(browser, platform.url);
  await signIn(page, 'admin', platform.password);
  for (const [address, text] of PAGES) {
    const answer = await page.goto(address);
    assert.equal(answer.status(), 200, address);
    assert.ok((await page.textContent('body')).includes(text), `${address} shows ${text}`);
    const unlabelled = await page.$$eval('input:not([type=hidden]):not([type=submit]):not([disabled]):not([aria-hidden=true]),select,textarea', (fields) =>
      fields.filter((f) => !f.labels?.length && !f.getAttribute('aria-label') && !f.getAttribute('aria-labelledby')).map((f) => f.outerHTML));
    assert.deepEqual(unlabelled, [], `${address}: inputs without a label`);
  }
  assert.deepEqual(faults, []);
  await context.close();
});

test('no page is wider than a phone, light or dark', async () => {
  for (const colorScheme of ['light', 'dark']) {
    const { page, context } = await openPage(browser, platform.url, { viewport: { width: 375, height: 720 }, colorScheme });
    await signIn(page, 'admin', platform.password);
    for (const [address] of PAGES) {
      await page.goto(address);
      const width = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(width <= 376, `${address} is ${width} px wide on a phone`);
      const theme = await page.getAttribute('html', 'data-bs-theme');
      assert.equal(theme, colorScheme, address);
    }
    await context.close();
  }
});

test('no link of the product leads nowhere', async () => {
  const { page, context } = await openPage(browser, platform.url);
  await signIn(page, 'admin', platform.password);
  const seen = new Set();
  const queue = PAGES.map(([address]) => address);
  const dead = [];
  while (queue.length > 0 && seen.size < 220) {
    const address = queue.shift();
    if (seen.has(address)) continue;
    seen.add(address);
    const answer = await context.request.get(platform.url + address, { headers: { accept: 'text/html' }, maxRedirects: 0 });
    if (answer.status() >= 400) dead.push(`${answer.status()} ${address}`);
    if (!(answer.headers()['content-type'] ?? '').startsWith('text/html')) continue;
    const html = await answer.text();
    for (const match of html.matchAll(/<a\b[^>]*?\shref="([^"#]+)/g)) {
      const link = match[1].replaceAll('&amp;', '&').replaceAll('&#38;', '&');
      if (link.startsWith('/') && !link.startsWith('//')) queue.push(link);
    }
  }
  assert.deepEqual(dead, []);
  await context.close();
});

test('who is refused stays signed in, and has ways on', async () => {
  const { page, context } = await openPage(browser, platform.url);
  await signIn(page, 'admin', platform.password);
  const answer = await page.goto('/demo/nothing-here/-/commits');
  assert.equal(answer.status(), 404);
  assert.match(await page.textContent('main'), /There is no such project/);
  assert.ok(await page.getByRole('button', { name: 'Sign out' }).isVisible());
  assert.ok(await page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name: 'Projects' }).isVisible());
  assert.equal(await page.getByRole('link', { name: 'Sign in' }).count(), 0);
  await context.close();
});

test('a README cannot run a script', async () => {
  const { page, context } = await openPage(browser, platform.url);
  await signIn(page, 'admin', platform.password);
  await page.goto(`/${PROJECT}`);
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  assert.match(await page.textContent('.markdown'), /Says hello/);
  await context.close();
});

test('a job log arrives, coloured and escaped', async () => {
  const { page, context, faults } = await openPage(browser, platform.url);
  await signIn(page, 'admin', platform.password);
  await page.goto(`/${PROJECT}/-/pipelines`);
  await page.click('tbody a[href*="/-/pipelines/"]');
  await page.click('a[href*="/-/jobs/"]');
  await page.waitForFunction(() => document.querySelector('.log')?.textContent.includes('<b>everything</b>'));
  assert.ok(await page.locator('.log .ansi-green', { hasText: 'green' }).count() > 0, 'green text is green');
  await page.waitForFunction(() => document.querySelector('.log')?.textContent.includes('Job succeeded'));
  const lines = (await page.innerText('.log')).split('\n').filter((line) => line.includes('of 2') && !line.includes('$'));
  assert.match(lines.join('|'), /^\d+ ?step 2 of 2$/, 'of a progress bar the last state');
  assert.deepEqual(faults, []);
  await context.close();
});

test('by keyboard alone: skip link, jump to the ledger, filter it', async () => {
  const { page, context } = await openPage(browser, platform.url);
  await signIn(page, 'admin', platform.password);
  await page.goto('/');
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.className), 'skip-link');
  await page.keyboard.press('g');
  await page.keyboard.press('l');
  await page.waitForURL('**/ledger');
  await context.close();
});

test('the fleet filters while one types, and arrows go through its rows', async () => {
  await deployed();
  const { page, context, faults } = await openPage(browser, platform.url);
  await signIn(page, 'admin', platform.password);
  await page.goto('/plans');
  await page.keyboard.press('/');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'q');
  await page.keyboard.type('prod hello');
  await page.waitForFunction(() => document.querySelector('#fleet [role=status]').textContent.startsWith('1 '));
  assert.equal(await page.evaluate(() => document.activeElement.id), 'q', 'the search keeps the focus');
  await page.keyboard.press('ArrowDown');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'production');
  await page.keyboard.press('ArrowUp');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'q');
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  await page.waitForURL('**/plans/production');
  await page.selectOption('#product', 'demo/hello');
  await page.fill('#version', '9.9.9');
  await page.locator('#why button').click();
  await page.waitForURL(/version=9\.9\.9/);
  assert.match(await page.textContent('#why'), /9\.9\.9/);
  assert.deepEqual(faults, []);
  await context.close();
});

test('a commit is followed to where it runs', async () => {
  await deployed();
  const { page, context, faults } = await openPage(browser, platform.url);
  await signIn(page, 'admin', platform.password);
  const sha = platform.git(path.join(platform.folder, 'hello'), 'rev-parse', 'HEAD').trim();
  await page.goto('/products/demo/hello');
  await page.fill('#commit', sha.slice(0, 9));
  await page.keyboard.press('Enter');
  await page.waitForURL(/commit=/);
  assert.match(await page.textContent('#where'), /is in the release 1\.0\.0; it runs in 1 of 2 environments: staging/);
  const found = platform.json('where', sha.slice(0, 9), '--project', PROJECT);
  assert.equal(found.releases[0].version, '1.0.0');
  assert.deepEqual(faults, []);
  await context.close();
});

test('production is one form away, and the page follows', async () => {
  await deployed();
  const { page, context, faults } = await openPage(browser, platform.url);
  await signIn(page, 'admin', platform.password);
  await page.goto(`/${PROJECT}/-/environments`);
  const form = page.locator('form[action*="deploy"]', { has: page.locator('button') }).filter({ hasText: /production|Deploy|Promote/i }).last();
  const select = form.locator('select[name=environment]');
  if (await select.count()) await select.selectOption('production');
  await form.locator('button[type=submit], button:not([type])').first().click();
  await until('production to serve', () => {
    const list = platform.json('environment', 'list', PROJECT);
    const rows = Array.isArray(list) ? list : Object.values(list).find(Array.isArray);
    return rows.some((row) => row.name === 'production' && row.serving?.version === '1.0.0');
  });
  await page.goto(`/${PROJECT}/-/environments`);
  assert.match(await page.textContent('body'), /production/);
  assert.deepEqual(faults, []);
  await context.close();
});

test('an incident is declared, taken and resolved in the browser', async () => {
  const { page, context, faults } = await openPage(browser, platform.url);
  await signIn(page, 'admin', platform.password);
  await page.goto(`/${PROJECT}/-/incidents/new`);
  await page.fill('input[name=title]', 'No page loads');
  await page.locator('main form button[type=submit], main form button:not([type])').first().click();
  await page.waitForURL(/-\/incidents\/\d+/);
  await page.getByRole('button', { name: /take it|acknowledge/i }).click();
  await page.waitForLoadState();
  await page.getByRole('button', { name: /resolve/i }).first().click();
  await page.waitForLoadState();
  await until('the post-mortem', () => platform.json('ledger', 'list', '--kind', 'postmortem.committed').items?.length
    ?? JSON.stringify(platform.json('ledger', 'list', '--kind', 'postmortem.committed')).includes('postmortem'));
  assert.deepEqual(faults, []);
  await context.close();
});

test('a person who leaves is out at once, also in an open tab', async () => {
  platform.cli('user', 'create', 'leaver');
  const token = platform.json('token', 'create', 'x').secret;
  assert.ok(token);
  platform.cli('user', 'deactivate', 'leaver');
  const list = JSON.stringify(platform.json('user', 'list'));
  assert.match(list, /"leaver"/);
});
