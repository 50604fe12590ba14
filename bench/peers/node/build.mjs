// usage: node build.mjs LIBRARY DATASET-DIR DIMS OUT TARGET
// Prints one JSON object: build_s, bytes, param (the smallest ef that reaches TARGET recall@10), curve.
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { peers } from './peer.mjs'

const K = 10
const STEPS = [8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512]
const [library, dir, dimsText, out, targetText] = process.argv.slice(2)
const dims = Number(dimsText), target = Number(targetText)

function read(name, type) {
  const b = readFileSync(join(dir, name))
  return new type(b.buffer, b.byteOffset, b.byteLength / 4)
}
const base = read('base.f32', Float32Array), truth = read('truth.i32', Int32Array)
const all = read('queries.f32', Float32Array)
const queries = Array.from({ length: all.length / dims }, (_, i) => Array.from(all.subarray(i * dims, (i + 1) * dims)))

const peer = peers[library](dims)
const start = performance.now()
peer.build(base, base.length / dims)
const result = { build_s: (performance.now() - start) / 1000, bytes: 0, param: 0, curve: [] }
peer.save(out)
result.bytes = statSync(out).size

for (const ef of STEPS) {
  peer.tune(ef, out)
  let hits = 0
  const took = []
  queries.forEach((q, i) => {
    const want = new Set(truth.subarray(i * K, (i + 1) * K))
    const start = performance.now()
    const found = peer.search(q, K)
    took.push(performance.now() - start)
    for (const { id } of found) if (want.has(id)) hits++
  })
  took.sort((a, b) => a - b)
  const recall = hits / truth.length
  result.curve.push({ param: ef, recall, qps: 1000 / took[took.length >> 1] })
  if (recall >= target && !result.param) result.param = ef
  const then = result.curve.at(-5)
  if (recall >= Math.max(target, 0.998) || (result.curve.length > 5 && recall - then.recall < 0.001)) break
}
if (!result.param) result.param = result.curve.at(-1).param
console.log(JSON.stringify(result))
