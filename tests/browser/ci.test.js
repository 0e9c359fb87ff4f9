// Pipelines in a browser: from the graph to the log to a retry, run with variables, what a merge request shows of its
// pipeline, environments that jobs deploy to, and the pages on which CI is set up.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { openPage, signIn, startBrowser, startPlatform, until } from './platform.js';

const PROJECT = 'demo/clinic';
let platform;
let browser;
let work;

const CI = `stages: [build, test, deploy]
variables:
  GREETING: { value: hello, description: What the build says }
build:
  stage: build
  script:
    - echo "says $GREETING"
    - 'test -n "$SIGNING_KEY" || { echo "SIGNING_KEY is not set"; exit 1; }'
unit:
  stage: test
  script: ["true"]
  artifacts:
    reports:
      junit: junit.xml
      coverage_report: { coverage_format: cobertura, path: coverage.xml }
      codequality: quality.json
matrix:
  stage: test
  script: ["true"]
  parallel: { matrix: [{ DATABASE: [sqlite, postgres], ARCH: [amd64, arm64] }] }
may-fail:
  stage: test
  script: ["exit 3"]
  allow_failure: true
children:
  stage: test
  trigger: { include: child.yml, strategy: depend }
review:
  stage: deploy
  rules: [{ if: $CI_COMMIT_BRANCH && $CI_COMMIT_BRANCH != $CI_DEFAULT_BRANCH }]
  script: ["true"]
  environment: { name: review/$CI_COMMIT_REF_SLUG, url: "https://$CI_ENVIRONMENT_SLUG.example.org", on_stop: stop-review, auto_stop_in: 3 days }
stop-review:
  stage: deploy
  rules: [{ if: $CI_COMMIT_BRANCH && $CI_COMMIT_BRANCH != $CI_DEFAULT_BRANCH, when: manual, allow_failure: true }]
  script: ["echo taken down"]
  environment: { name: review/$CI_COMMIT_REF_SLUG, action: stop }
`;
const CHILD = 'inner:\n  script: ["true"]\n  artifacts: { reports: { junit: junit.xml } }\n';
/** Sixteen jobs beside each other and a chain over six stages, as large projects have them. */
const WIDE = ['stages: [lint, build, test, scan, package, deploy]', 'default: { tags: [nobody] }',
  ...Array.from({ length: 16 }, (_, i) => `unit-${i + 1}: { stage: test, script: x, needs: [build-${(i % 4) + 1}] }`),
  ...Array.from({ length: 4 }, (_, i) => `build-${i + 1}: { stage: build, script: x, needs: [${i ? 'format' : 'lint'}] }`),
  'lint: { stage: lint, script: x }', 'format: { stage: lint, script: x, allow_failure: true }',
  'secrets: { stage: scan, script: x, needs: [] }', 'licences: { stage: scan, script: x, needs: [unit-1, unit-16] }',
  'package: { stage: package, script: x }', 'sbom: { stage: package, script: x, needs: [licences] }',
  'staging: { stage: deploy, script: x }', 'production: { stage: deploy, script: x, when: manual }',
  'browsers: { stage: test, script: x, parallel: 5 }', ''].join('\n');

const junit = (...cases) =>
  `<testsuites><testsuite name="unit">${cases.map(([name, ok]) => `<testcase classname="app" name="${name}" time="0.2">${ok ? '' : '<failure message="expected 2, got 3">app.py:4</failure>'}</testcase>`).join('')}</testsuite></testsuites>`;
const cobertura = (hits) =>
  `<coverage><packages><package><classes><class filename="app.py"><lines>${hits.map((hit, i) => `<line number="${i + 1}" hits="${hit}"/>`).join('')}</lines></class></classes></package></packages></coverage>`;

function commit(branch, files, message) {
  platform.git(work, 'checkout', '-q', '-B', branch);
  for (const [name, text] of Object.entries(files)) fs.writeFileSync(path.join(work, name), text);
  platform.git(work, 'add', '-A');
  platform.git(work, 'commit', '-q', '-m', message);
  platform.git(work, 'push', '-q', platform.remote(PROJECT), branch);
}

/** The newest pipeline of a branch that is not a child, once it has ended or waits for people alone. */
async function ended(reference) {
  const over = ['success', 'warning', 'failed', 'canceled', 'manual', 'skipped'];
  return until(`the pipeline of ${reference}`, () => {
    const list = platform.json('pipeline', 'list', PROJECT, '--ref', reference);
    const newest = (list.pipelines ?? list).find((one) => one.source !== 'parent_pipeline');
    return newest && over.includes(newest.status) ? newest : null;
  }, 120_000);
}

async function pageOf(options = {}) {
  const opened = await openPage(browser, platform.url, options);
  await signIn(opened.page, 'admin', platform.password);
  return opened;
}

before(async () => {
  platform = await startPlatform();
  browser = await startBrowser();
  platform.cli('group', 'create', 'demo');
  platform.cli('project', 'create', PROJECT, '--description', 'Appointments');
  work = path.join(platform.folder, 'clinic');
  fs.mkdirSync(work);
  platform.git(work, 'init', '-q', '-b', 'main');
  commit('main', {
    '.gitlab-ci.yml': CI,
    'child.yml': CHILD,
    'app.py': 'def first():\n    return 1\n',
    'junit.xml': junit(['adds', true]),
    'coverage.xml': cobertura([1, 1]),
    'quality.json': '[]',
  }, 'Begin');
}, { timeout: 120_000 });

after(async () => {
  await browser?.close();
  await platform?.stop();
});

test('from the graph to the log to the setting that was missing to a retry', async () => {
  const failed = await ended('main');
  const { page, context, faults } = await pageOf();
  await page.goto(`/${PROJECT}/-/pipelines/${failed.id}`);
  assert.equal(await page.locator('.stage .job').count() >= 4, true);
  await page.click('.stage a.job-name:has-text("build")');
  await page.waitForURL('**/-/jobs/*');
  const job = page.url();
  await page.waitForSelector('.log:has-text("SIGNING_KEY is not set")');
  // The project's settings hold what the log asks for; a value that cannot be masked is refused, and stays written.
  await page.goto(`/${PROJECT}/-/settings`);
  await page.click('main a:text-is("CI/CD")');
  await page.fill('#name', 'SIGNING_KEY');
  await page.fill('#value', 'short');
  await page.check('input[name=masked]');
  await page.click('button:text-is("Set") >> nth=0');
  await page.waitForSelector('.alert-danger:has-text("cannot be masked")');
  assert.equal(await page.inputValue('#name'), 'SIGNING_KEY');
  await page.fill('#value', 'long-enough-to-hide');
  await page.click('button:text-is("Set") >> nth=0');
  await page.waitForSelector('td:has-text("SIGNING_KEY")');
  assert.ok(!(await page.content()).includes('long-enough-to-hide'));
  await page.goto(job);
  await page.click('button:text-is("Retry")');
  await page.waitForURL((url) => url.href !== job);
  const passed = await ended('main');
  assert.equal(passed.status, 'warning', 'may-fail is allowed to');
  await page.goto(`/${PROJECT}/-/pipelines/${passed.id}`);
  await page.waitForSelector('h2:text-is("Earlier tries")');
  assert.match(await page.textContent('main'), /children.*→/s);
  assert.deepEqual(faults.filter((fault) => !/status of 422/.test(fault)), []);
  await context.close();
});

test('a pipeline is run with variables, by keyboard alone', async () => {
  const { page, context, faults } = await pageOf();
  await page.goto(`/${PROJECT}/-/pipelines`);
  await page.locator('a:text-is("Run pipeline")').focus();
  await page.keyboard.press('Enter');
  await page.waitForURL('**/pipelines/new*');
  const said = page.locator('[name="var:GREETING"]');
  assert.equal(await said.inputValue(), 'hello');
  await said.focus();
  await page.keyboard.press('Control+A');
  await page.keyboard.type('good evening');
  await page.locator('form.card button[type=submit]').focus();
  await page.keyboard.press('Enter');
  await page.waitForURL(/pipelines\/\d+$/);
  const run = await ended('main');
  assert.equal(run.source, 'web');
  await page.goto(`/${PROJECT}/-/pipelines/${run.id}`);
  await page.locator('a.job-name:has-text("build")').focus();
  await page.keyboard.press('Enter');
  await page.waitForSelector('.log:has-text("says good evening")');
  assert.deepEqual(faults, []);
  await context.close();
});

test('a merge request shows tests, coverage, findings and the lines that no test reached', async () => {
  commit('feature', {
    'app.py': 'def first():\n    return 1\n\n\ndef second(x):\n    return x + 2\n',
    'junit.xml': junit(['adds', true], ['subtracts', false]),
    'coverage.xml': cobertura([1, 1, 1, 1, 1, 0]),
    'quality.json': JSON.stringify([{ description: 'x is a poor name', check_name: 'naming', fingerprint: 'f1', severity: 'minor', location: { path: 'app.py', lines: { begin: 5 } } }]),
  }, 'Add two');
  await ended('feature');
  platform.json('mr', 'create', '--project', PROJECT, '--source', 'feature', '--target', 'main', '--title', 'Add two');
  const { page, context, faults } = await pageOf();
  await page.goto(`/${PROJECT}/-/merge-requests/1`);
  const card = page.locator('#pipeline-widget-card');
  await card.waitFor();
  const text = (await card.textContent()).replace(/\s+/g, ' ');
  assert.match(text, /4 tests: 2 failed, 2 new/, 'the child that is waited for counts');
  assert.match(text, /Coverage 83.33 % −16.67/);
  assert.match(text, /1 finding/);
  await page.goto(`/${PROJECT}/-/merge-requests/1/changes`);
  const missed = page.locator('td.no.missed');
  assert.equal(await missed.count(), 1);
  assert.match(await missed.textContent(), /6.*no test reached this line/s);
  assert.match(await page.textContent('#file-0 summary, details.card:has(td.missed) summary'), /without test|app\.py/);
  assert.ok((await page.textContent('main')).includes('x is a poor name'), 'the finding stands on its line');
  await page.goto(`/${PROJECT}/-/merge-requests/1/changes?view=split`);
  assert.equal(await page.locator('td.no.missed').count(), 1);
  assert.deepEqual(faults, []);
  await context.close();
});

test('an environment of a branch is kept, and stopped by its job', async () => {
  const { page, context, faults } = await pageOf();
  await page.goto(`/${PROJECT}/-/environments`);
  await page.click('a:text-is("Environments of jobs")');
  const row = page.locator('tr:has-text("review/feature")');
  await row.waitFor();
  assert.equal(await row.locator('a[href^="https://review-feature"]').count(), 1);
  await row.locator('button:text-is("Keep it")').click();
  await row.waitFor();
  assert.equal(await row.locator('button:text-is("Keep it")').count(), 0);
  page.on('dialog', (dialog) => dialog.accept());
  await row.locator('button:text-is("Stop")').focus();
  await page.keyboard.press('Enter');
  await page.waitForSelector('tr:has-text("review/feature") .badge:text-is("stopping"), a.nav-link:has-text("Stopped"):has-text("1")');
  await until('the environment to be stopped', async () => {
    await page.goto(`/${PROJECT}/-/ci/environments?stopped=1`);
    return (await page.locator('tr:has-text("review/feature")').count()) === 1;
  });
  const [, stop] = [await page.goto(`/${PROJECT}/-/ci/environments`), await page.textContent('main')];
  assert.match(stop, /Active\s*0/);
  assert.deepEqual(faults, []);
  await context.close();
});

test('a large pipeline and every new page fit a phone, light and dark, and name all their fields', async () => {
  commit('wide', { '.gitlab-ci.yml': WIDE }, 'Many jobs');
  const wide = await until('the wide pipeline', () => {
    const list = platform.json('pipeline', 'list', PROJECT, '--ref', 'wide');
    return (list.pipelines ?? list)[0];
  });
  const pages = [`/${PROJECT}/-/pipelines/${wide.id}`, `/${PROJECT}/-/pipelines/${wide.id}?view=needs`, `/${PROJECT}/-/queue`,
    '/admin/queue', '/demo/-/queue', '/admin/ci', '/demo/-/settings/ci', '/demo/-/settings/runners', '/admin/runners',
    `/${PROJECT}/-/settings/ci`, `/${PROJECT}/-/settings/runners`, `/${PROJECT}/-/ci/environments`,
    `/${PROJECT}/-/ci/environments?stopped=1`, `/${PROJECT}/-/schedules`, `/${PROJECT}/-/merge-requests/1`,
    `/${PROJECT}/-/merge-requests/1/changes`];
  for (const [colorScheme, width] of [['light', 375], ['dark', 375], ['light', 1280]]) {
    const { page, context, faults } = await pageOf({ viewport: { width, height: 800 }, colorScheme });
    for (const address of pages) {
      const answer = await page.goto(address);
      assert.equal(answer.status(), 200, address);
      const seen = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(seen <= width + 1, `${address} is ${seen} px wide on ${width}`);
      const unlabelled = await page.$$eval('input:not([type=hidden]):not([type=submit]),select,textarea', (fields) =>
        fields.filter((f) => !f.labels?.length && !f.getAttribute('aria-label')).map((f) => f.outerHTML));
      assert.deepEqual(unlabelled, [], `${address}: inputs without a label`);
    }
    assert.deepEqual(faults, []);
    await context.close();
  }
});

if (process.env.SHOTS) {
  test('pictures', async () => {
    platform.cli('schedule', 'create', PROJECT, 'Nightly', '--cron', '0 3 * * *', '--timezone', 'Europe/Paris');
    const wide = platform.json('pipeline', 'list', PROJECT, '--ref', 'wide');
    const feature = await ended('feature');
    const all = { graph: `/${PROJECT}/-/pipelines/${feature.id}`, wide: `/${PROJECT}/-/pipelines/${(wide.pipelines ?? wide)[0].id}`,
      queue: `/${PROJECT}/-/queue`, 'admin-queue': '/admin/queue', schedules: `/${PROJECT}/-/schedules`, settings: `/${PROJECT}/-/settings/ci`,
      'group-ci': '/demo/-/settings/ci', 'group-runners': '/demo/-/settings/runners', environments: `/${PROJECT}/-/ci/environments`, stopped: `/${PROJECT}/-/ci/environments?stopped=1`,
      request: `/${PROJECT}/-/merge-requests/1`, changes: `/${PROJECT}/-/merge-requests/1/changes`, split: `/${PROJECT}/-/merge-requests/1/changes?view=split`,
      group: '/demo', admin: '/admin', pipelines: `/${PROJECT}/-/pipelines` };
    for (const [look, width, colorScheme] of [['light', 1280, 'light'], ['dark', 1280, 'dark'], ['phone', 390, 'light']]) {
      const { page, context } = await pageOf({ viewport: { width, height: 900 }, colorScheme });
      for (const [name, address] of Object.entries(all)) {
        await page.goto(address);
        await page.waitForTimeout(300);
        await page.screenshot({ path: `${process.env.SHOTS}/pages-${name}-${look}.png`, fullPage: true });
      }
      await context.close();
    }
  });
}
