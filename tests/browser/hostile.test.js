// Text from people who mean harm, in every field of the forge and of planning: it is shown as written, and never runs.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { openPage, signIn, startBrowser, startPlatform, until } from './platform.js';

const PROJECT = 'demo/hostile';
/** Pages looked at beyond those that are named below. */
const CRAWLED = 220;

/** As text: HTML in all the ways in which browsers run it. */
const TEXT = `x<script>hacked('script')</script><img src=x onerror="hacked('image')"><svg onload=hacked('svg')>"'--></title></textarea>{{7*7}}`;
/** Where slashes and such are not allowed. */
const SHORT = "<img src=x onerror=hacked('short')>";
/** As Markdown, in which some HTML is allowed and links may lead anywhere. */
const MARKDOWN = `${TEXT}

[click](javascript:hacked('link')) <a href="javascript:hacked('raw')">raw</a> ![p](javascript:hacked('p')) <javascript:hacked('auto')>
[d](data:text/html;base64,PHNjcmlwdD5oYWNrZWQoKTwvc2NyaXB0Pg==) <iframe srcdoc="<script>parent.hacked('frame')</script>"></iframe>
<form action="javascript:hacked('form')"><input autofocus onfocus="hacked('focus')"></form> <style>@import 'javascript:hacked()'</style>
[x]: javascript:hacked('reference)

\`\`\`mermaid
flowchart LR
  A["${SHORT.replaceAll('"', "'")}"] --> B
  click A "javascript:hacked('diagram')"
\`\`\`

\`\`\`"><script>hacked('fence')</script>
x
\`\`\`
`;
const SVG = `<svg xmlns="http://www.w3.org/2000/svg" onload="hacked('raw svg')"><script>top.hacked('raw svg script')</script></svg>`;
const HTML = `<!doctype html><title>x</title><script>window.ran = ['raw html']; document.cookie</script>`;

let platform;
let browser;
let request;
let issue;

before(async () => {
  platform = await startPlatform();
  browser = await startBrowser();
  platform.cli('user', 'create', 'mallory', '--display-name', SHORT);
  platform.cli('group', 'create', 'demo', '--description', TEXT);
  platform.cli('project', 'create', PROJECT, '--description', TEXT);
  platform.cli('group', 'set-member', 'demo', 'mallory', '--role', 'developer');
  const work = path.join(platform.folder, 'work');
  fs.mkdirSync(work);
  const write = (name, text) => {
    fs.mkdirSync(path.dirname(path.join(work, name)), { recursive: true });
    fs.writeFileSync(path.join(work, name), text);
  };
  const git = (...args) => platform.git(work, '-c', `user.name=x" onmouseover="hacked('author')`, ...args);
  git('init', '-q', '-b', 'main');
  write('README.md', MARKDOWN);
  write('page.html', HTML);
  write('picture.svg', SVG);
  write('table.csv', `a,b\n"${TEXT.replaceAll('"', '""')}",2\n`);
  write('CODEOWNERS', `[${SHORT}]\n* @mallory ${SHORT.replaceAll(' ', '')}\n`);
  write(`${SHORT}/${SHORT}.md`, MARKDOWN);
  write(`src/${SHORT}.js`, `// ${TEXT}\n`);
  write(`.bascule/issue_templates/${SHORT}.md`, MARKDOWN);
  write('.gitlab-ci.yml', JSON.stringify({
    stages: [SHORT],
    [SHORT]: {
      stage: SHORT,
      script: [`echo ${JSON.stringify(TEXT)}`, 'echo done > page.html'],
      variables: { [`X`]: TEXT },
      environment: { name: 'x' },
      release: { tag_name: '$CI_COMMIT_TAG', name: TEXT, description: MARKDOWN },
      rules: [{ if: '$CI_COMMIT_TAG' }],
    },
    test: { stage: SHORT, script: [`printf '%s\\n' ${JSON.stringify(TEXT)}`] },
  }));
  git('add', '-A');
  git('commit', '-q', '-m', `${TEXT}\n\n${MARKDOWN}`);
  git('push', '-q', platform.remote(PROJECT), 'main');
  git('tag', '-a', '1.0.0', '-m', TEXT);
  git('push', '-q', platform.remote(PROJECT), '1.0.0');
  const branch = `b<img/src=x/onerror=hacked('branch')>`;
  git('checkout', '-q', '-b', branch);
  write('README.md', `${MARKDOWN}\nchanged\n`);
  write(`src/${SHORT}.js`, `/* ${TEXT} */\n`);
  git('add', '-A');
  git('commit', '-q', '-m', TEXT);
  git('push', '-q', platform.remote(PROJECT), branch);
  git('push', '-q', platform.remote(PROJECT), `${branch}:refs/heads/other`);

  platform.cli('label', 'create', PROJECT, SHORT, '--description', TEXT);
  platform.cli('milestone', 'create', PROJECT, TEXT, '--description', MARKDOWN);
  platform.cli('milestone', 'create', 'demo', `group ${TEXT}`, '--description', MARKDOWN);
  issue = platform.json('issue', 'create', PROJECT, TEXT, '--description', MARKDOWN, '--label', SHORT, '--milestone', TEXT, '--assign', 'mallory').number;
  platform.cli('issue', 'comment', PROJECT, String(issue), MARKDOWN);
  request = platform.json('mr', 'create', '--project', PROJECT, '--source', branch, '--title', TEXT, '--description', MARKDOWN).iid;
  platform.cli('mr', 'review', String(request), '--project', PROJECT, '--comment', MARKDOWN);
  const sha = platform.git(work, 'rev-parse', 'HEAD').trim();
  const api = async (method, address, body) => {
    const answer = await fetch(`${platform.url}/api/v1/projects/${PROJECT}/${address}`, {
      method,
      headers: { authorization: `Bearer ${platform.token}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    assert.ok(answer.ok, `${address}: ${answer.status} ${await answer.clone().text()}`);
  };
  await api('POST', `merge-requests/${request}/threads`, { body: `${MARKDOWN}\n\`\`\`suggestion\n${TEXT}\n\`\`\`\n`, position: { path: `src/${SHORT}.js`, start: 1, end: 1, head: sha } });
  const report = path.join(platform.folder, 'report.sarif');
  fs.writeFileSync(report, JSON.stringify({
    version: '2.1.0',
    runs: [{
      tool: { driver: { name: TEXT, rules: [{ id: SHORT, helpUri: "javascript:hacked('rule')" }] } },
      results: [{ ruleId: SHORT, message: { text: TEXT }, locations: [{ physicalLocation: { artifactLocation: { uri: 'README.md' }, region: { startLine: 1 } } }] }],
    }],
  }));
  platform.cli('mr', 'report', report, '--project', PROJECT, '--sha', sha);
  platform.cli('incident', 'declare', PROJECT, TEXT);
  platform.cli('incident', 'comment', PROJECT, '1', MARKDOWN);
  platform.cli('token', 'create', SHORT);
}, { timeout: 120_000 });

after(async () => {
  await browser?.close();
  await platform?.stop();
});

/** What on a page could run, or lead to what runs. */
const dangers = (page) => page.evaluate(() => {
  const found = [];
  for (const element of document.querySelectorAll('*')) {
    const show = () => element.outerHTML.slice(0, 200);
    for (const { name, value } of element.attributes) {
      if (/^on/i.test(name)) found.push(show());
      if (/^(href|src|action|formaction|xlink:href|data|srcdoc)$/i.test(name) && /^[\s\u0000-\u001f]*(javascript|vbscript|data:text)/i.test(value)) found.push(show());
    }
    if (/^(iframe|object|embed|base)$/i.test(element.localName)) found.push(show());
    if (element.localName === 'script' && !(element.getAttribute('src') ?? '').startsWith('/assets/')) found.push(show());
    if (element.localName === 'style') found.push(show());
  }
  return found.concat((window.ran ?? []).map((what) => `ran: ${what}`));
});

async function watched() {
  const opened = await openPage(browser, platform.url);
  await opened.context.addInitScript(() => {
    window.ran = [];
    window.hacked = (what) => window.ran.push(what);
  });
  await signIn(opened.page, 'admin', platform.password);
  return opened;
}

test('hostile text is shown as it is written on the page of what bears it', async () => {
  const { page, context, faults } = await watched();
  const at = (text) => text.replace(/\s+/g, ' ').trim();
  for (const [address, text, where] of [
    ['/explore', TEXT, 'main'],
    [`/${PROJECT}`, TEXT, 'main'],
    [`/${PROJECT}`, SHORT, 'main'],
    [`/${PROJECT}/-/commits`, TEXT, 'main'],
    [`/${PROJECT}/-/branches`, "b<img/src=x/onerror=hacked('branch')>", 'main'],
    [`/${PROJECT}/-/tags`, '1.0.0', 'main'],
    [`/${PROJECT}/-/blob/main/table.csv`, TEXT, 'main'],
    [`/${PROJECT}/-/blob/main/src/${encodeURIComponent(SHORT)}.js`, TEXT, 'main'],
    [`/${PROJECT}/-/blob/main/picture.svg`, SVG, 'main'],
    [`/${PROJECT}/-/owners?path=README.md`, SHORT.replaceAll(' ', ''), 'main'],
    [`/${PROJECT}/-/labels`, SHORT, 'main'],
    [`/${PROJECT}/-/labels`, TEXT, 'main'],
    [`/${PROJECT}/-/milestones`, TEXT, 'main'],
    [`/${PROJECT}/-/milestones/1`, TEXT, 'h1'],
    [`/${PROJECT}/-/issues`, TEXT, 'main'],
    [`/${PROJECT}/-/issues/${issue}`, TEXT, 'h1'],
    [`/${PROJECT}/-/issues/new`, SHORT, 'main'],
    [`/${PROJECT}/-/issues?search=${encodeURIComponent(TEXT)}`, TEXT, 'main'],
    [`/${PROJECT}/-/board`, TEXT, '.kanban'],
    ['/demo/-/board', TEXT, '.kanban'],
    [`/${PROJECT}/-/merge-requests`, TEXT, 'main'],
    [`/${PROJECT}/-/merge-requests/${request}`, TEXT, 'h1'],
    [`/${PROJECT}/-/merge-requests/${request}/changes`, TEXT, 'table'],
    [`/${PROJECT}/-/merge-requests/${request}/commits`, TEXT, 'main'],
    [`/${PROJECT}/-/merge-requests/${request}/findings`, TEXT, 'main'],
    [`/${PROJECT}/-/incidents/1`, TEXT, 'h1'],
    ['/settings/tokens', SHORT, 'main'],
    ['/admin/users', SHORT, 'main'],
  ]) {
    const answer = await page.goto(address);
    assert.equal(answer.status(), 200, address);
    const texts = await page.$$eval(where, (all) => all.map((e) => [e.textContent, ...[...e.querySelectorAll('input,option')].map((field) => field.value ?? '')].join('\n')));
    assert.ok(texts.some((shown) => at(shown).includes(at(text))), `${address} shows ${text}:\n${at(texts.join('\n')).slice(0, 1500)}`);
    assert.deepEqual(await dangers(page), [], address);
  }
  // Pictures that are not there are no harm.
  assert.deepEqual(faults.filter((fault) => !/status of 404/.test(fault)), []);
  await context.close();
});

test('nothing runs on any page that leads on from there', { timeout: 300_000 }, async () => {
  await until('the pipelines to end', () => {
    const list = platform.json('pipeline', 'list', PROJECT);
    const rows = Array.isArray(list) ? list : Object.values(list).find(Array.isArray);
    return rows.length > 0 && rows.every((row) => !/^(created|waiting|pending|running)/.test(row.status ?? row.state));
  });
  const { page, context, faults } = await watched();
  const queue = ['', '/-/releases', '/-/pipelines', '/-/merge-requests', `/-/merge-requests/${request}`, `/-/merge-requests/${request}/changes?view=split`,
    `/-/issues/${issue}`, '/-/issues/new', '/-/board', '/-/milestones', '/-/incidents', '/-/settings', '/-/compare?from=main&to=other', '/-/tree/main'].map((rest) => `/${PROJECT}${rest}`);
  queue.push('/', '/explore', '/ledger', '/incidents', '/admin', '/admin/users', '/demo', '/settings', '/sign-in?next=javascript:hacked(1)');
  const seen = new Set();
  while (queue.length > 0 && seen.size < CRAWLED) {
    const address = queue.shift();
    // One page of each kind and object; pages of the same with other words after `?` are a few only.
    const kind = address.replace(/[0-9a-f]{40}/g, 'SHA').replace(/([?&](page|from|file|after|before)=)[^&]*/g, '$1');
    if (seen.has(kind)) continue;
    seen.add(kind);
    const answer = await page.goto(address, { waitUntil: 'load' }).catch((error) => {
      if (!/Download is starting|ERR_ABORTED/.test(error.message)) throw error;
    });
    if (!answer || !(answer.headers()['content-type'] ?? '').startsWith('text/html')) continue;
    assert.ok(answer.status() < 500, `${answer.status()} ${address}`);
    assert.deepEqual(await dangers(page), [], address);
    for (const link of await page.$$eval('a[href]', (all) => all.map((a) => a.getAttribute('href')))) {
      if (/^\/(?!\/)/.test(link) && !/\/-\/(raw|archive)\//.test(link)) queue.push(link.split('#')[0]);
    }
  }
  assert.ok(seen.size > 80, `only ${seen.size} pages`);
  assert.deepEqual(faults.filter((fault) => !/status of 40[034]/.test(fault)), []);
  await context.close();
});

test('HTML and SVG out of a repository never run where the forge does', async () => {
  const { page, context } = await watched();
  await page.goto(`/${PROJECT}`);
  for (const [name, tag] of [['page.html', 'iframe'], ['picture.svg', 'iframe'], ['picture.svg', 'img']]) {
    const address = `/${PROJECT}/-/raw/main/${name}`;
    const answer = await context.request.get(platform.url + address);
    const headers = answer.headers();
    assert.equal(headers['content-type'], 'application/octet-stream', name);
    assert.match(headers['content-disposition'], /^attachment/, name);
    assert.equal(headers['x-content-type-options'], 'nosniff', name);
    assert.match(headers['content-security-policy'], /sandbox/, name);
    // Opened directly it is saved, not shown; embedded it is not even loaded, save a drawing as an image, of which no script runs.
    const saved = page.waitForEvent('download');
    await page.evaluate((address) => { window.location = address; }, address);
    await (await saved).cancel();
    await page.evaluate(([tag, address]) => new Promise((resolve) => {
      const element = document.createElement(tag);
      element.onload = element.onerror = () => resolve();
      setTimeout(resolve, 500);
      element.src = address;
      document.body.append(element);
    }), [tag, address]);
    assert.deepEqual(await page.evaluate(() => window.ran), [], name);
  }
  await context.close();
});
