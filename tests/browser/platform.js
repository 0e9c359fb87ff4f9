// Starts the real binary on a data directory of its own, and a browser beside it.
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import readline from 'node:readline';
import { chromium } from 'playwright-core';

export async function startPlatform() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'bascule-browser-'));
  const data = path.join(folder, 'data');
  const child = spawn(process.env.BASCULE_BIN, ['up', '--data', data, '--listen', '127.0.0.1:0'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const log = [];
  const url = await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`never ready:\n${log.join('\n')}`)), 60_000);
    for (const stream of [child.stdout, child.stderr]) {
      readline.createInterface({ input: stream }).on('line', (line) => {
        log.push(line);
        if (log.length > 200) log.shift();
        if (line.startsWith('ready ')) {
          clearTimeout(timer);
          resolve(line.slice(6).trim());
        }
      });
    }
  });
  const token = fs.readFileSync(path.join(data, 'admin.token'), 'utf8').trim();
  const password = fs.readFileSync(path.join(data, 'admin.password'), 'utf8').trim();
  const env = { ...process.env, BASCULE_URL: url, BASCULE_TOKEN: token };
  return {
    url,
    token,
    password,
    folder,
    log: () => log.join('\n'),
    cli: (...args) => execFileSync(process.env.BASCULE_BIN, args, { env, encoding: 'utf8' }),
    json: (...args) => JSON.parse(execFileSync(process.env.BASCULE_BIN, [...args, '--json'], { env, encoding: 'utf8' })),
    git: (cwd, ...args) =>
      execFileSync('git', ['-c', 'user.name=developer', '-c', 'user.email=developer@example.org', ...args], {
        cwd,
        encoding: 'utf8',
        env: { ...process.env, GIT_CONFIG_GLOBAL: '/dev/null', GIT_TERMINAL_PROMPT: '0' },
        stdio: ['ignore', 'pipe', 'pipe'],
      }),
    remote: (project, by = token) => url.replace('http://', `http://git:${by}@`) + `/${project}.git`,
    /** The command line as someone who has a token. */
    as: (who, ...args) =>
      execFileSync(process.env.BASCULE_BIN, args, { env: { ...env, BASCULE_TOKEN: who.token }, encoding: 'utf8' }),
    stop: async () => {
      const gone = new Promise((resolve) => child.on('exit', resolve));
      child.kill('SIGTERM');
      await gone;
      fs.rmSync(folder, { recursive: true, force: true });
    },
  };
}

export async function startBrowser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
      '--disable-background-networking', '--disable-component-update', '--disable-sync',
    ],
  });
}

/** Opens a page that notes everything a page should not do: errors, and requests to other hosts. */
export async function openPage(browser, url, options = {}) {
  const context = await browser.newContext({ baseURL: url, ...options });
  const page = await context.newPage();
  const faults = [];
  page.on('console', (message) => message.type() === 'error' && faults.push(`console: ${message.text()}`));
  page.on('pageerror', (error) => faults.push(`script: ${error.message}`));
  page.on('request', (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith('data:')) faults.push(`asks ${request.url()}`);
  });
  return { page, context, faults };
}

export async function signIn(page, username, password) {
  await page.goto('/sign-in');
  await page.fill('input[name=username]', username);
  await page.fill('input[name=password]', password);
  await page.keyboard.press('Enter');
  await page.waitForURL((url) => !url.pathname.startsWith('/sign-in'));
}

/** Makes an account with a password and a token of its own. */
export async function person(platform, name) {
  const ask = async (address, body, headers) => {
    const answer = await fetch(platform.url + address, {
      method: 'POST',
      headers: { origin: platform.url, ...headers },
      redirect: 'manual',
      body,
    });
    if (answer.status >= 400) throw new Error(`${address}: ${answer.status} ${await answer.text()}`);
    return answer;
  };
  const json = { 'content-type': 'application/json' };
  const made = await ask('/api/v1/users', JSON.stringify({ username: name, email: `${name}@example.org` }), {
    ...json,
    authorization: `Bearer ${platform.token}`,
  });
  const password = (await made.json()).initial_password;
  const session = await ask('/sign-in', new URLSearchParams({ username: name, password, next: '/' }));
  const cookie = session.headers.get('set-cookie').split(';')[0];
  const token = await ask('/api/v1/user/tokens', JSON.stringify({ name: 'browser', scopes: ['api', 'write_repository'] }), { ...json, cookie });
  return { name, password, token: (await token.json()).secret };
}

export async function until(what, look, limit = 60_000) {
  const end = Date.now() + limit;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

/** A project whose product is a small HTTP server in Python's standard library; needs no network. */
export function seed(platform) {
  platform.cli('group', 'create', 'demo');
  platform.cli('project', 'create', 'demo/hello', '--description', 'Says hello');
  const work = path.join(platform.folder, 'hello');
  fs.mkdirSync(path.join(work, 'src'), { recursive: true });
  const write = (name, text) => fs.writeFileSync(path.join(work, name), text);
  write('README.md', '# Hello\n\nSays hello. <script>window.hacked = true</script>\n\n- [x] done\n');
  write('src/server.py', `import http.server, os

class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"hello"
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Hello).serve_forever()
`);
  write('requirements.txt', 'idna==3.10\n');
  write('.gitlab-ci.yml', `stages: [test, build, release]
test:
  stage: test
  script:
    - echo "Testing <b>everything</b>"
    - printf '\\033[32mgreen\\033[0m\\n'
    - printf 'step 1 of 2\\rstep 2 of 2\\n'
package:
  stage: build
  rules: [{ if: $CI_COMMIT_TAG }]
  script: [ "tar -czf app.tar.gz src" ]
  artifacts: { paths: [app.tar.gz] }
publish:
  stage: release
  rules: [{ if: $CI_COMMIT_TAG }]
  script: [ "echo release" ]
  release: { tag_name: $CI_COMMIT_TAG, description: "First" }
`);
  write('bascule.yaml', `product: hello
artifact: app.tar.gz
command: python3 src/server.py
health: { path: /, interval: 500ms, timeout: 1s, start: 20s }
smoke: [{ path: /, status: 200, contains: hello }]
`);
  platform.git(work, 'init', '-q', '-b', 'main');
  platform.git(work, 'add', '-A');
  platform.git(work, 'commit', '-q', '-m', 'Say hello');
  platform.git(work, 'push', '-q', platform.remote('demo/hello'), 'main');
  platform.git(work, 'tag', '1.0.0');
  platform.git(work, 'push', '-q', platform.remote('demo/hello'), '1.0.0');
  return work;
}
