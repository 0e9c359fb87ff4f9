// Planning in a browser: the board by keyboard, by mouse, by finger, and without script.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { openPage, signIn, startBrowser, startPlatform, until } from './platform.js';

const PROJECT = 'demo/plan';
const BOARD = `/${PROJECT}/-/board`;
let platform;
let browser;

before(async () => {
  platform = await startPlatform();
  browser = await startBrowser();
  platform.cli('group', 'create', 'demo');
  platform.cli('project', 'create', PROJECT);
}, { timeout: 120_000 });

after(async () => {
  await browser?.close();
  await platform?.stop();
});

/** Opens an issue; returns its number. */
function issue(title, ...more) {
  return platform.json('issue', 'create', PROJECT, title, ...more).number;
}

/** Titles in a column, as the page shows them. */
const shown = (page, column) => page.$$eval(`[data-column=${column}] .kanban-card a`, (links) => links.map((a) => a.textContent));

/** A column as the platform has it. */
function column(name) {
  return platform.json('board', 'show', PROJECT).columns.find((c) => c.column === name).issues.map((i) => i.title);
}

async function openBoard(options = {}) {
  const opened = await openPage(browser, platform.url, options);
  await signIn(opened.page, 'admin', platform.password);
  await opened.page.goto(BOARD);
  return opened;
}

/** One issue in Doing, which is as many as one member may do; returns its number. */
function inDoing() {
  const busy = issue('busy');
  platform.cli('issue', 'move', PROJECT, String(busy), 'doing');
  return busy;
}

/** A fresh board: whatever stands on it is closed. */
function clear() {
  for (const name of ['open', 'todo', 'doing']) {
    for (const left of platform.json('board', 'show', PROJECT).columns.find((c) => c.column === name).issues) {
      platform.cli('issue', 'close', PROJECT, String(left.number));
    }
  }
}

test('an issue is opened, planned, talked about and closed', async () => {
  const { page, context, faults } = await openPage(browser, platform.url);
  await signIn(page, 'admin', platform.password);
  await page.goto(`/${PROJECT}/-/issues`);
  assert.match(await page.textContent('main'), /No issues here/);
  await page.getByRole('link', { name: 'New issue' }).click();
  await page.fill('#title', 'Nobody can <b>sign in</b>');
  await page.fill('#description', 'Since **noon**. <script>window.hacked = true</script>');
  await page.getByLabel('type', { exact: true }).selectOption('type::bug');
  await page.getByLabel('priority', { exact: true }).selectOption('priority::high');
  await page.getByRole('button', { name: 'Open the issue' }).click();
  await page.waitForURL(/-\/issues\/\d+$/);
  assert.match(await page.textContent('h1'), /Nobody can <b>sign in<\/b>/);
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  await page.getByRole('button', { name: 'Assign to me' }).click();
  await page.waitForLoadState();
  assert.match(await page.textContent('main'), /To do/);
  await page.fill('#body', 'Seen on staging, see #1');
  await page.getByRole('button', { name: 'Comment', exact: true }).click();
  await page.waitForURL(/#comment-1/);
  assert.equal(await page.locator('#comment-1 a', { hasText: '#1' }).getAttribute('href'), `/${PROJECT}/-/issues/1`);
  await page.getByRole('button', { name: 'Close', exact: true }).click();
  await page.waitForSelector('button:has-text("Reopen")');
  assert.deepEqual(faults, []);
  await context.close();
});

test('by keyboard alone an issue goes over the board', async () => {
  clear();
  const one = issue('first');
  issue('second', '--assign', 'admin');
  const busy = inDoing();
  const { page, context, faults } = await openPage(browser, platform.url);
  await signIn(page, 'admin', platform.password);
  await page.goto(`/${PROJECT}`);
  await page.keyboard.press('g');
  await page.keyboard.press('k');
  await page.waitForURL(`**${BOARD}`);
  const reach = async (label) => {
    for (let i = 0; i < 120; i++) {
      await page.keyboard.press('Tab');
      if ((await page.evaluate(() => document.activeElement.getAttribute('aria-label'))) === label) return;
    }
    assert.fail(`never reached: ${label}`);
  };
  await reach(`Move #${one} to To do`);
  await page.keyboard.press('Enter');
  await until('the card in To do', async () => (await shown(page, 'todo')).includes('first'));
  const focused = (label) => page.evaluate((label) => document.activeElement.getAttribute('aria-label') === label, label);
  const told = (text) => until(`to be told: ${text}`, async () => (await page.textContent('#board-said')).includes(text));
  // The focus stays with the card, so that it can go on at once; it is refused, since enough is being done.
  await until('the focus to stay', () => focused(`Move #${one} to Doing`));
  await told(`Issue ${one} is in To do now.`);
  await page.keyboard.press('Enter');
  await page.waitForSelector('[role=alert]');
  assert.equal(new URL(page.url()).pathname, BOARD, 'the board stays');
  assert.match(await page.textContent('[role=alert]'), /1 issue is in Doing already/);
  await told('Not moved');
  assert.ok(await focused(`Move #${one} to Doing`), 'the focus stays after a refusal too');
  assert.deepEqual(column('todo').sort(), ['first', 'second']);
  assert.deepEqual((await shown(page, 'todo')).sort(), ['first', 'second'], 'the card is back in its place');
  const order = await shown(page, 'todo');
  await page.locator('[data-column=todo] .kanban-card').last().locator('button[name=before]').focus();
  await page.keyboard.press('Enter');
  await until('the other order', async () => (await shown(page, 'todo'))[0] === order[1]);
  assert.deepEqual(column('todo'), order.reverse());
  // In the last column nothing leads further right: the focus goes to what else the card has.
  await reach('Move #' + one + ' to Open');
  platform.cli('issue', 'close', PROJECT, String(busy));
  await page.reload();
  for (const to of ['Doing', 'Done']) {
    await reach(`Move #${one} to ${to}`);
    await page.keyboard.press('Enter');
    await told(`Issue ${one} is in ${to} now.`);
  }
  assert.ok(await focused(`Move #${one} to Doing`), await page.evaluate(() => document.activeElement.outerHTML));
  assert.deepEqual(faults, []);
  await context.close();
});

test('by mouse a card is dragged to its place, and another browser sees it', async () => {
  clear();
  issue('a');
  issue('b');
  issue('c', '--assign', 'admin');
  const { page, context, faults } = await openBoard();
  const other = await openBoard();
  const box = async (selector) => page.locator(selector).first().boundingBox();
  const drag = async (from, to) => {
    await page.mouse.move(from.x + from.width / 2, from.y + 12);
    await page.mouse.down();
    await page.mouse.move(to.x + to.width / 2, to.y + 4, { steps: 12 });
    assert.equal(await page.locator('.kanban-ghost').count(), 1, 'a picture of the card follows');
    await page.mouse.up();
  };
  await drag(await box('.kanban-card:has-text("b")'), await box('.kanban-card:has-text("a")'));
  await until('b above a', () => column('open').join() === 'b,a');
  await drag(await box('.kanban-card:has-text("c")'), await box('[data-column=doing] ol'));
  await until('c in Doing', () => column('doing').join() === 'c');
  await until('the other browser', async () => (await shown(other.page, 'doing')).join() === 'c', 10_000);
  // Dragging a link does not follow it; a click does.
  assert.equal(new URL(page.url()).pathname, BOARD);
  await page.getByRole('link', { name: 'b', exact: true }).click();
  await page.waitForURL(/-\/issues\/\d+$/);
  assert.deepEqual(faults, []);
  await context.close();
  await other.context.close();
});

test('at phone width: nothing is cut off, buttons suit fingers, a card is dragged by its grip', async () => {
  clear();
  issue('a card with a rather long title that has to find its place');
  issue('b');
  const { page, context, faults } = await openBoard({
    viewport: { width: 375, height: 720 },
    hasTouch: true,
    isMobile: true,
    colorScheme: 'dark',
  });
  assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= 376);
  for (const box of await page.$$eval('[data-column=open] .kanban-buttons button', (all) => all.map((b) => b.getBoundingClientRect().toJSON()))) {
    assert.ok(box.width >= 40 && box.height >= 40, JSON.stringify(box));
  }
  const grip = await page.locator('[data-column=open] .kanban-grip').last().boundingBox();
  const above = await page.locator('[data-column=open] .kanban-card').first().boundingBox();
  const touch = await context.newCDPSession(page);
  const point = (x, y) => ({ x: Math.round(x), y: Math.round(y) });
  const from = point(grip.x + grip.width / 2, grip.y + grip.height / 2);
  await touch.send('Input.dispatchTouchEvent', { type: 'touchStart', touchPoints: [from] });
  for (let step = 1; step <= 10; step++) {
    const y = from.y + ((above.y + 3 - from.y) * step) / 10;
    await touch.send('Input.dispatchTouchEvent', { type: 'touchMove', touchPoints: [point(from.x, y)] });
  }
  await touch.send('Input.dispatchTouchEvent', { type: 'touchEnd', touchPoints: [] });
  await until('b above', () => column('open')[0] === 'b');
  for (const address of ['issues', 'issues/new', 'issues/1', 'labels', 'milestones', 'issues/import']) {
    await page.goto(`/${PROJECT}/-/${address}`);
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= 376, `${address} is ${width} px wide on a phone`);
    const tab = await page.locator('.subnav a[aria-current]').boundingBox();
    assert.ok(tab.x >= 0 && tab.x + tab.width <= 376, `the tab one is on is in sight: ${JSON.stringify(tab)}`);
  }
  await page.goto('/demo/-/board');
  assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= 376);
  assert.deepEqual(faults, []);
  await context.close();
});

test('without script the board moves all the same', async () => {
  clear();
  const number = issue('plain');
  inDoing();
  const { page, context } = await openBoard({ javaScriptEnabled: false });
  await page.getByRole('button', { name: `Move #${number} to To do` }).click();
  await page.waitForURL(`**${BOARD}#issue-*`);
  assert.deepEqual(await shown(page, 'todo'), ['plain']);
  await page.getByRole('button', { name: `Move #${number} to Doing` }).click();
  assert.match(await page.textContent('[role=alert]'), /1 issue is in Doing already/);
  assert.match(await page.textContent('[data-column=todo]'), /admin/, 'who moves what nobody has gets it');
  assert.deepEqual(await shown(page, 'todo'), ['plain'], 'the refusal is told on the board');
  await context.close();
});

test('on a desk all tabs stand in one row, and the way past them can be read', async () => {
  const { page, context } = await openPage(browser, platform.url, { viewport: { width: 1280, height: 800 }, colorScheme: 'light' });
  await signIn(page, 'admin', platform.password);
  await page.goto(`/${PROJECT}/-/issues`);
  const row = await page.evaluate(() => {
    const tops = [...document.querySelectorAll('.subnav a')].map((tab) => tab.offsetTop);
    const box = document.querySelector('.subnav .container-xl');
    return { rows: new Set(tops).size, hidden: box.scrollWidth - box.clientWidth };
  });
  assert.deepEqual(row, { rows: 1, hidden: 0 });
  await page.keyboard.press('Tab');
  const [words, ground] = await page.evaluate(() => {
    const style = getComputedStyle(document.activeElement);
    return [style.color, style.backgroundColor];
  });
  assert.notEqual(words, ground);
  await page.goto('/-/todos');
  assert.equal(await page.locator('.topbar [aria-current=page]').getAttribute('href'), '/-/todos', 'To-dos, not Home');
  await context.close();
});

test('a milestone is made, and shows how far it is', async () => {
  const { page, context, faults } = await openPage(browser, platform.url);
  await signIn(page, 'admin', platform.password);
  await page.goto(`/${PROJECT}/-/milestones`);
  await page.fill('#title', '1.0');
  await page.getByRole('button', { name: 'Make' }).click();
  await page.waitForURL(/-\/milestones\/1$/);
  platform.cli('issue', 'close', PROJECT, String(issue('in it', '--milestone', '1.0')));
  issue('in it too', '--milestone', '1.0');
  await page.reload();
  assert.match(await page.textContent('main'), /1 of 2 issues are done/);
  assert.equal(await page.locator('svg.burnup path').count(), 2);
  assert.deepEqual(faults, []);
  await context.close();
});
