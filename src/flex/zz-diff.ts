import { spawnSync } from 'node:child_process';
import { parseAnswer } from './answer.ts';
import { parseJson } from './json.ts';
let seed = Number(process.argv[2] ?? 1);
const r = () => { seed = (seed + 0x6d2b79f5) | 0; let t = Math.imul(seed ^ (seed >>> 15), 1 | seed); t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t; return ((t ^ (t >>> 14)) >>> 0) / 4294967296; };
const n = (k: number) => Math.floor(r() * k) % k;
const pick = <T>(a: T[]): T => a[n(a.length)]!;
const toks = ['{', '}', '[', ']', ',', ':', '"', '\\', '\n', ' ', '\t', '\r', '0', '1', '-', '.', 'e', 'E', '+', 'true', 'false', 'null', 'nul', 'tru', '\\u', '\\ud800', '\\udc00', '\\u00e9', '\\n', '\\q', '\x00', '\x7f', '\xff', '\xc3\xa9', '\xe2\x82', '\xed\xa0\x80', '\xf0\x9f\x98\x80', '\xf0\x9f', '\xef\xbb\xbf', '"a"', '"status"', '"Success"', "'", '\xc0\x80', '\xf4\x90\x80\x80', '\xe0\x80\x80'];
const keys = ['status', 'STATUS', '\\u0073tatus', '\xc5\xbftatus', 'message', 'device', 'DEVICE', 'volumeName', 'attached', 'Attached', 'capabilities', 'Capabilities', 'volumeNewSize', 'x', '', 'attach', 'selinuxRelabel', '\xc5\xbfelinuxRelabel', 'supportsMetrics', 'fsGroup', 'requiresFSResize', '\xe2\x84\xaa'];
function str(): string { let s = '"'; for (let i = n(4); i > 0; i--) s += pick(['a', 'b', '\\n', '\\u00e9', '\\ud83d\\ude00', '\\ud800', '\\udc00x', '\\ud800\\u0041', '\xff', '\xe2\x82', '\xe2\x82\xac', '\xf0\x9f\x98', '\xed\xa0\x80', '\\/', '\\"', '\u007f', '\xc0\xaf','\\ud800\\ud800\\udc00','\xf4\x90\x80\x80','\xe0\x9f\xbf','\xf0\x8f\xbf\xbf']); return `${s}"`; }
function val(d: number, k?: string): string {
  const t = n(12);
  if (k !== undefined && n(3)) {
    const kk = k.toLowerCase();
    if (/cap/.test(kk)) return n(5) ? obj(d - 1) : 'null';
    if (/size/.test(kk)) return pick(['0', '-0', '1', '1024.0', '1e3', '9223372036854775807', '9223372036854775808', '-9223372036854775808', '-9223372036854775809', 'null', '"1"','123456789012345678901234567890']);
    if (/attach|relabel|metrics|group|resize/.test(kk)) return pick(['true', 'false', 'null', '1', '"true"','true','false']);
    return n(6) ? str() : pick(['null', '1', 'true', '{}', '[]']);
  }
  if (t < 3 || d <= 0) return str();
  if (t < 5) return pick(['0', '-1', '1.5', '1e9', '-0.0e-1', '01', '1.', '-', '.5', '1e', '+1','0x1']);
  if (t < 7) return pick(['true', 'false', 'null', 'True', 'nul']);
  if (t < 9) return `[${Array.from({ length: n(3) }, () => ws() + val(d - 1) + ws()).join(n(15) ? ',' : ' ')}]`;
  return obj(d - 1);
}
const ws = () => n(6) ? '' : pick([' ', '\n', '\t', '\r', '\r\n ','\f','\xa0'].slice(0, n(10) ? 5 : 7));
function obj(d: number): string { return `{${Array.from({ length: n(4) }, () => { const k = pick(keys); return `${ws()}"${k}"${ws()}:${ws()}${val(d, k)}${ws()}`; }).join(',')}}`; }
function mutate(s: string): string { const c = s.split(''); for (let i = n(3); i > 0; i--) { const at = n(c.length + 1); const m = n(3); if (m === 0) c.splice(at, 1); else if (m === 1) c.splice(at, 0, pick(toks)); else c.length = at; } return c.join(''); }
const cases: Buffer[] = [];
for (let i = 0; i < 150000; i++) { const k = n(4); cases.push(Buffer.from(k === 0 ? Array.from({ length: n(8) }, () => pick(toks)).join('') : k === 1 ? mutate(obj(3)) : obj(3), 'latin1')); }
for (const depth of [9999, 10000, 10001]) cases.push(Buffer.from('['.repeat(depth) + ']'.repeat(depth)), Buffer.from('{"a":'.repeat(depth) + '1' + '}'.repeat(depth)), Buffer.from('['.repeat(depth)));
const go = spawnSync('/tmp/wt/gocheck/chk', { input: cases.map((c) => c.toString('base64')).join('\n'), maxBuffer: 1 << 30 }).stdout.toString().trim().split('\n');
let bad = 0, ok = 0, typeErr = 0, syn = 0, msg = 0;
cases.forEach((c, i) => {
  const g = JSON.parse(go[i]!);
  let syntax: string | undefined;
  try { parseJson(c); } catch (e) { syntax = (e as Error).message.replace(/ \(byte \d+, line \d+\)$/, ''); }
  const goSyntax = g.error !== undefined && !g.error.startsWith('json: cannot unmarshal');
  if ((syntax !== undefined) !== goSyntax) { bad++; console.log('SYNTAX', JSON.stringify(c.toString('latin1')).slice(0,300), g.error, syntax); return; }
  if (syntax !== undefined) { syn++; if (syntax !== g.error && syntax !== "unexpected end of JSON input" && /^invalid character .[\x20-\x7e]/.test(g.error) && !/u00|.f./.test(g.error.slice(17,24))) { msg++; if (msg < 15) console.log('msg', g.error, '|', syntax); } return; }
  const p = parseAnswer(c);
  if (p.ok !== (g.error === undefined)) { bad++; console.log('TYPE', c.toString('latin1'), g.error, p); return; }
  if (!p.ok) { typeErr++; return; }
  ok++;
  const a = p.answer, k = a.capabilities;
  const mine = { s: a.status, m: a.message, d: a.device ?? '', v: a.volumeName ?? '', a: a.attached ?? false, z: String(a.volumeNewSize ?? 0n), c: [k.attach, k.selinuxRelabel, k.supportsMetrics ?? false, k.fsGroup, k.requiresFSResize] };
  const strip = (o: any) => JSON.stringify([o.s, o.m, o.d, o.v, o.a, o.z, o.c]);
  if (strip(mine) !== strip(g)) { bad++; if (bad < 20) console.log('VALUE', c.toString('latin1'), strip(mine), strip(g)); }
});
console.log({ bad, ok, typeErr, syn, msg });
