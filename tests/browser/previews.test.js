// Previews in a browser: where a request answers, stopped and started on its page; also without script.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { openPage, signIn, startBrowser, startPlatform, until } from './platform.js';

const PROJECT = 'demo/seen';
const PAGE = `/${PROJECT}/-/merge-requests/1`;
let platform;
let browser;

const stands = (state) =>
  until(state, () => {
    const found = platform.json('preview', 'list', '--project', PROJECT)[0];
    return found?.state === state && (state !== 'running' || found.url) && found;
  });

before(async () => {
  platform = await startPlatform();
  browser = await startBrowser();
  platform.cli('group', 'create', 'demo');
  platform.cli('project', 'create', PROJECT);
  const work = path.join(platform.folder, 'seen');
  const write = (name, text) => {
    fs.mkdirSync(path.dirname(path.join(work, name)), { recursive: true });
    fs.writeFileSync(path.join(work, name), text);
  };
  write('.gitlab-ci.yml', 'package:\n  script: [ "tar -czf app.tar.gz src" ]\n  artifacts: { paths: [app.tar.gz] }\n');
  write('src/index.html', '<h1>main</h1>');
  write(
    'bascule.yaml',
    'product: seen\nartifact: app.tar.gz\ncommand: cd src && python3 -m http.server --bind 127.0.0.1 $PORT\n' +
      'health: { path: /, interval: 300ms }\ndrain: 1s\npreview: true\n',
  );
  platform.git(work, 'init', '-q', '-b', 'main');
  platform.git(work, 'add', '-A');
  platform.git(work, 'commit', '-qm', 'Begin');
  platform.git(work, 'push', '-q', platform.remote(PROJECT), 'main');
  platform.git(work, 'checkout', '-qb', 'better');
  write('src/index.html', '<h1>better</h1>');
  platform.git(work, 'commit', '-qam', 'Better');
  platform.git(work, 'push', '-q', platform.remote(PROJECT), 'better');
  platform.cli('mr', 'create', '--source', 'better', '--title', 'Better', '--project', PROJECT);
}, { timeout: 120_000 });

after(async () => {
  await browser?.close();
  await platform?.stop();
});

test('the page of a request shows its preview as it comes up, and stops it', { timeout: 120_000 }, async () => {
  const { page, context, faults } = await openPage(browser, platform.url);
  await signIn(page, 'admin', platform.password);
  await page.goto(PAGE);
  // It keeps itself up to date.
  await page.waitForSelector('#preview [data-state=running]', { timeout: 60_000 });
  const href = await page.waitForSelector('#preview a[href^=http]').then((link) => link.getAttribute('href'));
  const answer = await fetch(href);
  assert.equal(await answer.text(), '<h1>better</h1>');
  if (process.env.PICTURES) await page.screenshot({ path: path.join(process.env.PICTURES, 'preview.png'), fullPage: true });

  await page.click('#preview form[action$="/preview/stop"] button');
  await page.waitForSelector('#preview [data-state=stopped]', { timeout: 60_000 });
  assert.match(await page.textContent('#preview'), /admin stopped it/);
  await assert.rejects(fetch(href), 'nothing answers any more');
  assert.deepEqual(faults, []);
  await context.close();
});

test('on a phone and without script it is started again', { timeout: 120_000 }, async () => {
  const look = { viewport: { width: 375, height: 760 }, javaScriptEnabled: false };
  const { page, context } = await openPage(browser, platform.url, look);
  await signIn(page, 'admin', platform.password);
  await page.goto(PAGE);
  await page.click('#preview form[action$="/preview/start"] button');
  const { url } = await stands('running');
  await page.goto(PAGE);
  assert.equal(await page.textContent('#preview a[href^=http]').then((text) => text.trim()), url);
  const width = await page.locator('#preview').evaluate((card) => card.getBoundingClientRect().right);
  assert.ok(width <= 375, `the card is ${width} wide`);
  if (process.env.PICTURES) await page.screenshot({ path: path.join(process.env.PICTURES, 'preview-phone.png'), fullPage: true });
  await context.close();
});
