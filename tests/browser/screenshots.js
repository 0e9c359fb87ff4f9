// Pictures of the main pages, light and dark, desktop and phone, for eyes and for the README.
// node screenshots.js [URL PASSWORD [PROJECT]]: of a running platform; else of one seeded here.
import fs from 'node:fs';
import path from 'node:path';
import { openPage, seed, signIn, startBrowser, startPlatform, until } from './platform.js';

const [given, givenPassword, givenProject] = process.argv.slice(2);
const folder = path.join(import.meta.dirname, 'screenshots');
fs.mkdirSync(folder, { recursive: true });

let platform = null;
let url = given;
let password = givenPassword;
let project = givenProject ?? 'demo/appointments';
if (!url) {
  platform = await startPlatform();
  ({ url, password } = platform);
  project = 'demo/hello';
  seed(platform);
  await until('staging', () => JSON.stringify(platform.json('environment', 'list', project)).includes('"serving":{'));
}
const browser = await startBrowser();
const pages = [
  ['home', '/'],
  ['explore', '/explore'],
  ['project', `/${project}`],
  ['commits', `/${project}/-/commits`],
  ['merge-requests', `/${project}/-/merge-requests?state=all`],
  ['merge-request', `/${project}/-/merge-requests?state=all`, 'main a.fw-bold[href*="/-/merge-requests/"]'],
  ['merge-request-changes', `/${project}/-/merge-requests?state=all`, 'main a.fw-bold[href*="/-/merge-requests/"]', 'main .nav-link[href$="/changes"]'],
  ['commit', `/${project}/-/commits`, 'main a.fw-bold[href*="/-/commit/"]'],
  ['issues', `/${project}/-/issues`],
  ['issue', `/${project}/-/issues`, 'main a.fw-bold[href*="/-/issues/"]'],
  ['board', `/${project}/-/board`],
  ['labels', `/${project}/-/labels`],
  ['milestones', `/${project}/-/milestones`],
  ['milestone', `/${project}/-/milestones`, 'main a.fw-bold[href*="/-/milestones/"]'],
  ['pipelines', `/${project}/-/pipelines`],
  ['pipeline', `/${project}/-/pipelines`, 'tbody a[href*="/-/pipelines/"]'],
  ['pipeline-tests', `/${project}/-/pipelines`, 'tbody a[href*="/-/pipelines/"]', 'main .nav-link[href$="/tests"]'],
  ['pipeline-timing', `/${project}/-/pipelines`, 'tbody a[href*="/-/pipelines/"]', 'main .nav-link[href$="/timing"]'],
  ['pipeline-charts', `/${project}/-/pipelines/charts`],
  ['run-pipeline', `/${project}/-/pipelines/new`],
  ['job', `/${project}/-/pipelines`, 'tbody a[href*="/-/pipelines/"]', 'a[href*="/-/jobs/"]'],
  ['releases', `/${project}/-/releases`],
  ['release', `/${project}/-/releases`, 'main a[href*="/-/releases/"]'],
  ['environments', `/${project}/-/environments`],
  ['tasks', `/${project}/-/tasks`],
  ['plans', '/plans'],
  ['parity', '/parity?all=true'],
  ['plan', '/plans?q=', 'main a[href^="/plans/"]'],
  ['map', '/environments'],
  ['products', '/products'],
  ['product', '/products', 'main a[href^="/products/"]'],
  ['agents', '/agents'],
  ['rollout', `/${project}/-/deployments`, 'main a[href*="/-/deployments/"]', 'main a[href*="/-/rollouts/"]'],
  ['telemetry', `/${project}/-/telemetry`],
  ['incidents', '/incidents'],
  ['incident', '/incidents', 'main a[href*="/-/incidents/"]'],
  ['insights', `/${project}/-/insights`],
  ['instance-insights', '/insights'],
  ['ledger', '/ledger'],
  ['settings', '/settings'],
  ['workflow', `/${project}/-/settings/workflow`],
  ['todos', '/-/todos'],
  ['mail', '/settings/mail'],
  ['webhooks', `/${project}/-/settings/webhooks`],
];
const looks = [
  ['desktop-light', { viewport: { width: 1280, height: 800 }, colorScheme: 'light' }],
  ['desktop-dark', { viewport: { width: 1280, height: 800 }, colorScheme: 'dark' }],
  ['phone-light', { viewport: { width: 375, height: 760 }, colorScheme: 'light', deviceScaleFactor: 2 }],
];
for (const [look, options] of looks) {
  const { page, context, faults } = await openPage(browser, url, options);
  await page.goto('/sign-in');
  await page.screenshot({ path: path.join(folder, `sign-in-${look}.png`) });
  await signIn(page, 'admin', password);
  for (const [name, address, ...clicks] of pages) {
    await page.goto(address);
    for (const click of clicks) {
      const link = page.locator(click).first();
      if (await link.count()) await page.goto(await link.getAttribute('href'));
    }
    await page.waitForTimeout(900); // charts draw after their data came
    await page.screenshot({ path: path.join(folder, `${name}-${look}.png`) });
  }
  if (faults.length) console.log(look, faults);
  await context.close();
}
await browser.close();
await platform?.stop();
console.log(`screenshots are in ${folder}`);
