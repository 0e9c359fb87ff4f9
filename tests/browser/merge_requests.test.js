// Merge requests in a browser: the whole way of a change, by keyboard alone, and on a phone.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { openPage, person, signIn, startBrowser, startPlatform, until } from './platform.js';

const PROJECT = 'demo/app';
let platform;
let browser;
const people = {};

const write = (work, files) => {
  for (const [name, text] of Object.entries(files)) {
    fs.mkdirSync(path.dirname(path.join(work, name)), { recursive: true });
    fs.writeFileSync(path.join(work, name), text);
  }
};

/** A clone of a project by someone. */
function clone(who, project, name) {
  const work = path.join(platform.folder, name);
  platform.git(platform.folder, 'clone', '-q', platform.remote(project, who.token), work);
  return work;
}

/** A branch with these files, pushed by someone. */
function push(who, work, branch, files, message) {
  platform.git(work, 'checkout', '-q', '-B', branch);
  write(work, files);
  platform.git(work, 'add', '-A');
  platform.git(work, '-c', `user.name=${who.name}`, '-c', `user.email=${who.name}@example.org`, 'commit', '-q', '-m', message);
  platform.git(work, 'push', '-q', 'origin', branch);
}

/** A page of someone who is signed in. */
async function pageOf(who, options = {}) {
  const opened = await openPage(browser, platform.url, options);
  await signIn(opened.page, who.name, who.password);
  return opened;
}

/** Waits until a request is merged; says what holds it if it never is. */
async function merged(request) {
  const iid = request.split('/').pop();
  const shown = () => platform.json('mr', 'show', iid, '--project', PROJECT);
  await until('the request to be merged', () => shown().state === 'merged', 90_000).catch((error) => {
    throw new Error(`${error.message}: ${JSON.stringify(shown(), null, 1)}`);
  });
}

/** Settings, through the API. */
async function set(what, change) {
  const answer = await fetch(`${platform.url}/api/v1/projects/${PROJECT}/${what}`, {
    method: 'PATCH',
    headers: { authorization: `Bearer ${platform.token}`, 'content-type': 'application/json' },
    body: JSON.stringify(change),
  });
  assert.ok(answer.ok, await answer.text());
}

before(async () => {
  platform = await startPlatform();
  browser = await startBrowser();
  for (const group of ['demo', 'sec', 'ops']) platform.cli('group', 'create', group);
  platform.cli('project', 'create', PROJECT);
  // The developer works on a fork; owners and the team may push.
  for (const [name, role, team] of [['developer', 'reporter'], ['security', 'developer', 'sec'], ['sre', 'maintainer', 'ops']]) {
    people[name] = await person(platform, name);
    platform.cli('group', 'set-member', 'demo', name, '--role', role);
    if (team) platform.cli('group', 'set-member', team, name, '--role', 'developer');
  }
  const work = path.join(platform.folder, 'seed');
  fs.mkdirSync(work);
  platform.git(work, 'init', '-q', '-b', 'main');
  write(work, {
    'README.md': '# App\n\n```mermaid\nflowchart LR\n  Push --> Review --> Merge\n```\n',
    CODEOWNERS: '[Security]\n*.py @sec\n',
    'src/greet.py': 'def greet(name):\n    return "hello"\n\n\nprint(greet("you"))\n',
    '.gitlab-ci.yml': `check:
  script: ["grep -q greet src/greet.py"]
  rules:
    - if: $CI_PIPELINE_SOURCE == "merge_request_event"
    - if: $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH
`,
  });
  platform.git(work, 'add', '-A');
  platform.git(work, 'commit', '-q', '-m', 'Begin');
  platform.git(work, 'push', '-q', platform.remote(PROJECT), 'main');
  await set('review-settings', { approvals: 0, code_owners: true, teams: [{ name: 'Operations', group: 'ops', required: 1 }, { name: 'Security', group: 'sec', required: 0 }] });
  await set('merge-settings', { queue: true });
}, { timeout: 120_000 });

after(async () => {
  await browser?.close();
  await platform?.stop();
});

test('a change goes the whole way: fork, push, review, suggestion, two teams, queue, Done', { timeout: 240_000 }, async () => {
  const { developer, security, sre } = people;
  const issue = platform.json('issue', 'create', PROJECT, 'Greet people by name', '--assign', 'developer').number;
  const mine = await pageOf(developer);
  const { page } = mine;

  // Fork.
  await page.goto(`/${PROJECT}/-/merge-requests`);
  await page.getByRole('link', { name: 'Fork' }).click();
  await page.getByRole('button', { name: 'Make the fork' }).click();
  await page.waitForURL('**/developer/app');
  assert.match(await page.textContent('main'), /A fork of demo\/app/);

  // Branch and push.
  const work = clone(developer, 'developer/app', 'fork');
  const changed = 'def greet(name):\n    return "hello " + nam\n\n\nprint(greet("you"))\n';
  // The rule refuses what names no issue; the terminal says which rule, why, and what to do.
  platform.cli('flow', 'set', 'developer/app', '--rule', 'issue_in_commit=refuse');
  const branch = `${issue}-greet-by-name`;
  let refusal = '';
  try {
    push(developer, work, branch, { 'src/greet.py': changed }, 'Greet people by name');
  } catch (error) {
    refusal = `${error.message}${error.stderr ?? ''}`;
  }
  assert.match(refusal, /every commit names its issue/);
  assert.match(refusal, /git commit --amend/);
  const author = ['-c', `user.name=${developer.name}`, '-c', `user.email=${developer.name}@example.org`];
  platform.git(work, ...author, 'commit', '-q', '--amend', '-m', `Greet people by name (${PROJECT}#${issue})`);
  platform.git(work, 'push', '-q', 'origin', branch);

  // Open a request from the fork.
  await page.reload();
  await page.getByRole('link', { name: 'Open a merge request there' }).click();
  await page.getByLabel('Branch with your commits').selectOption(`${issue}-greet-by-name`);
  await page.getByLabel('Title').fill('Greet people by name');
  await page.getByLabel('Description').fill(`So that they feel seen.\n\nCloses #${issue}, after demo/app#${issue}. <script>window.hacked = 1</script>`);
  await page.getByRole('button', { name: 'Open the merge request' }).click();
  await page.waitForURL(/merge-requests\/\d+$/);
  const request = new URL(page.url()).pathname;
  assert.equal(await page.locator('.markdown a', { hasText: 'demo/app#' }).getAttribute('href'), `/${PROJECT}/-/issues/${issue}`);
  assert.equal(await page.locator('.markdown a', { hasText: /^#/ }).getAttribute('href'), `/${PROJECT}/-/issues/${issue}`);
  assert.match(await page.textContent('main'), /What holds the merge/);

  // A line comment with a suggestion, from the owner.
  const theirs = await pageOf(security);
  const owner = theirs.page;
  await owner.goto(`${request}/changes`);
  await owner.getByLabel('Comment on new line 2').click();
  await owner.getByLabel('Your comment').waitFor();
  await owner.getByLabel('Your comment').fill('A typing error, see !1.\n\n```suggestion:-0+0\n    return "hello " + name\n```\n');
  await owner.getByRole('button', { name: 'Comment now' }).click();
  await owner.waitForURL(/#thread-|\/changes/);
  assert.match(await owner.textContent('main'), /Suggested change/);
  assert.equal(await owner.locator('.review-thread .markdown a', { hasText: '!1' }).getAttribute('href'), request);

  // The suggestion is applied by the author, in the browser, to the fork's branch.
  await page.goto(request);
  await page.getByRole('button', { name: 'Apply', exact: true }).click();
  await page.waitForSelector('text=applied');
  platform.git(work, 'pull', '-q', 'origin', `${issue}-greet-by-name`);
  assert.match(fs.readFileSync(path.join(work, 'src/greet.py'), 'utf8'), /\+ name\n/);

  // Neither team alone is enough.
  await owner.goto(request);
  await owner.getByRole('button', { name: 'Approve', exact: true }).click();
  await owner.waitForSelector('button:has-text("Take my word back")');
  assert.match(await owner.textContent('section[aria-labelledby=merge-state]'), /What holds the merge/);
  const ops = await pageOf(sre);
  await ops.page.goto(request);
  await ops.page.getByRole('button', { name: 'Approve', exact: true }).click();
  await ops.page.waitForSelector('button:has-text("Take my word back")');

  // Merged by the queue.
  const button = ops.page.getByRole('button', { name: /Put into the merge queue|Merge when all is met/ });
  await button.click();
  await merged(request);
  await ops.page.goto(request);
  assert.match(await ops.page.textContent('main'), /Merged by sre/i);
  platform.git(work, 'fetch', '-q', platform.remote(PROJECT), 'main');
  assert.match(platform.git(work, 'show', 'FETCH_HEAD:src/greet.py'), /\+ name\n/);

  // The issue is in Done.
  await until('the issue to be in Done', async () => {
    await page.goto(`/${PROJECT}/-/board`);
    return (await page.textContent('[data-column=done]')).includes('Greet people by name');
  });
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  for (const opened of [mine, theirs, ops]) {
    assert.deepEqual(opened.faults, []);
    await opened.context.close();
  }
});

/** A request of `security` that waits, with a change of one file. */
function open(branch, files, title = `Take ${branch}`) {
  const { security } = people;
  const work = path.join(platform.folder, 'own');
  if (!fs.existsSync(work)) clone(security, PROJECT, 'own');
  platform.git(work, 'checkout', '-q', 'main');
  push(security, work, branch, files, title);
  const made = JSON.parse(platform.as(security, 'mr', 'create', '--project', PROJECT, '--source', branch, '--json'));
  return `/${PROJECT}/-/merge-requests/${made.iid}`;
}

test('by keyboard alone: open a request, comment on a line, approve, merge', { timeout: 240_000 }, async () => {
  await set('merge-settings', { queue: false });
  const request = open('notes', { 'notes.md': 'one\ntwo\nthree\n' }, 'Take notes');
  const { page, context, faults } = await pageOf(people.sre);
  const focused = () => page.evaluate(() => {
    const on = document.activeElement;
    return (on.getAttribute('aria-label') ?? on.labels?.[0]?.textContent ?? on.textContent).trim();
  });
  /** Goes on with Tab to what is named so; on each step the focus can be seen. */
  const reach = async (name) => {
    for (let i = 0; i < 150; i++) {
      await page.keyboard.press('Tab');
      if (name.test(await focused())) return;
    }
    assert.fail(`never reached: ${name}`);
  };
  await page.goto(`/${PROJECT}`);
  await page.keyboard.press('g');
  await page.keyboard.press('q');
  await page.waitForURL('**/merge-requests');
  await reach(/^Take notes$/);
  await page.keyboard.press('Enter');
  await page.waitForURL(`**${request}`);
  await reach(/^Changes/);
  await page.keyboard.press('Enter');
  await page.waitForURL('**/changes');
  await reach(/^Comment on new line 2$/);
  assert.notEqual(await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle), 'none', 'the focus can be seen');
  await page.keyboard.press('Enter');
  // The field takes the focus as it comes.
  await until('the focus in the comment', async () => (await focused()) === 'Your comment');
  await page.keyboard.type('Why two?');
  await reach(/^Comment now$/);
  await page.keyboard.press('Enter');
  await page.waitForSelector('.review-thread');
  assert.match(await page.textContent('.review-thread'), /Why two\?/);
  await page.goto(request);
  await reach(/^Approve$/);
  await page.keyboard.press('Enter');
  await page.waitForSelector('button:has-text("Take my word back")');
  // A thread that waits holds the merge: it is resolved first.
  await reach(/^Resolve$/);
  await page.keyboard.press('Enter');
  await page.waitForSelector('text=resolved');
  await reach(/^Merge( when all is met)?$/);
  await page.keyboard.press('Enter');
  await merged(request);
  await page.waitForLoadState();
  assert.deepEqual(faults, []);
  await context.close();
});

test('lines are shown side by side on every page of changes, as chosen last', async () => {
  const request = open('beside', { 'src/greet.py': 'def greet(name):\n    return name\n' }, 'Side by side');
  const { page, context, faults } = await pageOf(people.security);
  await page.goto(`${request}/changes`);
  assert.equal(await page.locator('table.diff-split').count(), 0);
  await page.getByRole('link', { name: 'Side by side' }).click();
  await page.waitForSelector('table.diff-split');
  const sha = platform.git(path.join(platform.folder, 'own'), 'rev-parse', 'HEAD').trim();
  for (const address of [`/${PROJECT}/-/commit/${sha}`, `/${PROJECT}/-/compare?from=main&to=beside`, `${request}/changes`]) {
    await page.goto(address);
    assert.equal(await page.locator('table.diff-split').count(), 1, address);
  }
  await page.goto(`/${PROJECT}/-/commit/${sha}`);
  const rows = await page.$$eval('table.diff-split tr', (all) => all.map((row) => [...row.querySelectorAll('.half')].map((half) => half.textContent)));
  assert.ok(rows.some(([left, right]) => left.includes('return "hello') && right.includes('return name')), JSON.stringify(rows));
  await page.getByRole('link', { name: 'Unified' }).click();
  await page.waitForURL(/view=unified/);
  assert.equal(await page.locator('table.diff-split').count(), 0);
  await page.goto(`/${PROJECT}/-/compare?from=main&to=beside`);
  assert.equal(await page.locator('table.diff-split').count(), 0, 'the other choice holds everywhere too');
  assert.deepEqual(faults, []);
  await context.close();
});

test('on a phone nothing is wider than the screen', async () => {
  const long = 'a-rather-long-name-that-has-to-find-its-place-somewhere';
  const request = open(`feature/${long}-${long}`, {
    [`src/${long}/${long}.py`]: `x = "${'y'.repeat(400)}"\n`,
    'docs/flow.md': '```mermaid\nflowchart LR\n  A --> B --> C --> D --> E --> F --> G --> H\n```\n',
  }, `Say ${long} and ${long.replaceAll('-', '')} ${'w'.repeat(90)}`);
  const issue = platform.json('issue', 'create', PROJECT, `Words ${'w'.repeat(120)}`, '--description', `${'v'.repeat(200)}\n\n| a | b |\n|-|-|\n| ${'t'.repeat(90)} | ${'u'.repeat(90)} |`).number;
  const sha = platform.git(path.join(platform.folder, 'own'), 'rev-parse', 'HEAD').trim();
  for (const colorScheme of ['light', 'dark']) {
    const { page, context, faults } = await pageOf(people.security, { viewport: { width: 390, height: 780 }, colorScheme, hasTouch: true, isMobile: true });
    for (const address of [
      request, `${request}/changes`, `${request}/changes?view=split`, `${request}/commits`, `${request}/edit`,
      `/${PROJECT}/-/merge-requests`, `/${PROJECT}/-/merge-queue`, `/${PROJECT}/-/board`, '/demo/-/board', `/${PROJECT}/-/issues/${issue}`,
      `/${PROJECT}/-/issues`, `/${PROJECT}/-/commit/${sha}`, `/${PROJECT}/-/commit/${sha}?view=unified`, `/${PROJECT}/-/commits`,
      `/${PROJECT}/-/compare?from=main&to=feature/${long}-${long}`, `/${PROJECT}/-/branches`, `/${PROJECT}/-/blob/${sha}/src/${long}/${long}.py`,
      `/${PROJECT}/-/blob/${sha}/docs/flow.md`, `/${PROJECT}`, `/${PROJECT}/-/fork`,
    ]) {
      const answer = await page.goto(address);
      assert.equal(answer.status(), 200, address);
      const width = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(width <= 391, `${address} is ${width} px wide on a phone: ${await page.evaluate(() => [...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > 392 && !e.parentElement.closest('[style*=overflow],.kanban,.diagram')).slice(0, 3).map((e) => e.outerHTML.slice(0, 200)).join('\n'))}`);
    }
    assert.deepEqual(faults, []);
    await context.close();
  }
});

test('Mermaid in a README, an issue and a comment is drawn; a broken one shows why', async () => {
  const { page, context, faults } = await pageOf(people.security, { colorScheme: 'light' });
  await page.goto(`/${PROJECT}`);
  const drawn = async () => page.$$eval('.diagram img', (all) => all.map((img) => [getComputedStyle(img).display !== 'none', img.complete && img.naturalWidth > 50]));
  await until('the picture', async () => JSON.stringify(await drawn()) === '[[true,true],[false,true]]' || JSON.stringify(await drawn()) === '[[true,true],[false,false]]', 10_000);
  await page.locator('[data-theme-toggle]').click();
  assert.deepEqual((await drawn()).map(([shown]) => shown), [false, true], 'the dark one in the dark');
  const issue = platform.json('issue', 'create', PROJECT, 'Drawn', '--description', '```mermaid\npie\n  "a" : 1\n  "b" : 2\n```\n\n```mermaid\nflowchart LR\n  A[x --> {\n```\n').number;
  await page.goto(`/${PROJECT}/-/issues/${issue}`);
  assert.equal(await page.locator('.diagram img').count(), 2);
  assert.match(await page.textContent('.diagram .alert'), /This diagram cannot be drawn/);
  assert.match(await page.locator('.diagram pre').last().textContent(), /A\[x --> \{/);
  assert.deepEqual(faults, []);
  await context.close();
});
