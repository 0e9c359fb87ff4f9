// Colours of states, measured as a browser computes them: words stand out from what is behind them, and one state has
// one colour, as a badge and in a bar.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { readFileSync } from 'node:fs';
import { startBrowser } from './platform.js';

const ASSETS = new URL('../../crates/web/assets/', import.meta.url);
const STYLES = ['node_modules/@tabler/core/dist/css/tabler.min.css', 'bascule.css'];
const STATES = ['up_to_date', 'moving', 'ready', 'held', 'blocked', 'coupled', 'drifted', 'unknown_product', 'waiting',
  'healthy', 'unhealthy', 'silent', 'empty', 'crashed', 'failed', 'starting', 'draining', 'paused'];
const TINTS = ['green', 'blue', 'azure', 'yellow', 'orange', 'red', 'purple', 'secondary', 'lime', 'indigo',
  'cyan', 'teal', 'pink'];
const LEAST = 4.5;

let browser;
before(async () => { browser = await startBrowser(); });
after(async () => { await browser?.close(); });

const probe = (classes, name) => `<span class="probe ${classes}" data-name="${name}">${name}</span> `;
const BODY = `<div class="page"><div class="card"><div class="card-body">
${STATES.map((state) => probe(`badge state s-${state}`, state)).join('')}
${TINTS.map((tint) => probe(`badge bg-${tint}-lt`, tint)).join('')}
${['warning', 'danger', 'success', 'secondary'].map((word) => probe(`text-${word}`, word)).join('')}
<svg class="statebar">${STATES.map((state) => `<rect class="fill s-${state}" data-state="${state}"/>`).join('')}</svg>
</div></div>${['info', 'warning', 'danger', 'success'].map((kind) => `<div class="alert alert-${kind}">${probe('', kind)}</div>`).join('')}</div>`;

/** Runs in the page: how far each probe's words stand out, and the colours of badges and bars. */
function measure() {
  const canvas = document.createElement('canvas');
  canvas.width = 1;
  canvas.height = 1;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  const seen = (layers) => {
    for (const layer of ['#fff', ...layers]) {
      context.fillStyle = layer;
      context.fillRect(0, 0, 1, 1);
    }
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  // WCAG 2.2, relative luminance and contrast ratio.
  const luminance = (colour) => {
    const [r, g, b] = colour.map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const words = [...document.querySelectorAll('.probe')].map((element) => {
    const behind = [];
    for (let at = element; at; at = at.parentElement) behind.unshift(getComputedStyle(at).backgroundColor);
    const [high, low] = [seen([...behind, getComputedStyle(element).color]), seen(behind)]
      .map(luminance).sort((a, b) => b - a);
    return { name: element.dataset.name, ratio: (high + 0.05) / (low + 0.05) };
  });
  const bars = [...document.querySelectorAll('rect')].map((bar) => ({
    state: bar.dataset.state,
    bar: getComputedStyle(bar).fill,
    badge: getComputedStyle(document.querySelector(`.badge.s-${bar.dataset.state}`)).color,
  }));
  return { words, bars };
}

for (const theme of ['light', 'dark']) {
  test(`words of states stand out and have their bar's colour, in ${theme}`, async () => {
    const page = await browser.newPage();
    const styles = STYLES.map((name) => `<style>${readFileSync(new URL(name, ASSETS), 'utf8')}</style>`).join('');
    await page.setContent(`<!doctype html><html data-bs-theme="${theme}"><head>${styles}</head><body>${BODY}</body></html>`);
    const { words, bars } = await page.evaluate(measure);
    assert.equal(words.length, STATES.length + TINTS.length + 8);
    for (const { name, ratio } of words) assert.ok(ratio >= LEAST, `${name} stands out by ${ratio.toFixed(2)} only`);
    for (const { state, bar, badge } of bars) assert.equal(bar, badge, `${state} has two colours`);
    await page.close();
  });
}
