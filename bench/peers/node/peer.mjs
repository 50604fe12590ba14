// The two libraries behind one small interface: build(base, n, dims), save, load, search(vector, k) -> [{id, score}].
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)

export const peers = {
  // Defaults of the library: M 16, efConstruction 200. One thread: the binding adds point by point.
  hnswlib: dims => {
    const { HierarchicalNSW } = require('hnswlib-node')
    const index = new HierarchicalNSW('ip', dims)
    return {
      build(base, n) {
        index.initIndex(n, 16, 200, 100)
        for (let i = 0; i < n; i++) index.addPoint(Array.from(base.subarray(i * dims, (i + 1) * dims)), i)
      },
      save: path => index.writeIndexSync(path),
      load: path => index.readIndexSync(path),
      tune: ef => index.setEf(ef),
      search(vector, k) {
        const { neighbors, distances } = index.searchKnn(vector, k) // not sorted
        return neighbors.map((id, i) => ({ id, score: 1 - distances[i] })).sort((a, b) => b.score - a.score)
      },
    }
  },
  // Defaults of the library (connectivity 16, expansion at add 128), vectors kept as bfloat16. All cores build.
  usearch: (dims, ef = 64) => {
    const { Index, MetricKind, ScalarKind } = require('usearch')
    const open = ef => new Index({ dimensions: dims, metric: MetricKind.IP, quantization: ScalarKind.BF16,
      connectivity: 16, expansion_add: 128, expansion_search: ef })
    let index = open(ef)
    return {
      build: (base, n) => index.add(BigUint64Array.from({ length: n }, (_, i) => BigInt(i)), base, 0),
      save: path => index.save(path),
      load: path => index.load(path),
      tune(ef, path) { index = open(ef); index.load(path) },
      search(vector, k) {
        const { keys, distances } = index.search(Float32Array.from(vector), k, 1)
        return Array.from(keys, (id, i) => ({ id: Number(id), score: 1 - distances[i] }))
      },
    }
  },
}
