// usage: node serve.mjs LIBRARY INDEX DIMS EF PORT
// node:http behind node:cluster with two workers, nothing else on the way.
import cluster from 'node:cluster'
import { createServer } from 'node:http'
import { peers } from './peer.mjs'

const [library, path, dims, ef, port] = process.argv.slice(2)

if (cluster.isPrimary) {
  for (let i = 0; i < 2; i++) cluster.fork()
  cluster.on('exit', () => process.exit(1))
} else {
  const peer = peers[library](Number(dims), Number(ef))
  peer.load(path)
  if (library === 'hnswlib') peer.tune(Number(ef))
  const answer = (res, body) => {
    res.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) })
    res.end(body)
  }
  createServer((req, res) => {
    if (req.method !== 'POST') return answer(res, '{}')
    const parts = []
    req.on('data', part => parts.push(part))
    req.on('end', () => {
      const { vector, k } = JSON.parse(Buffer.concat(parts))
      answer(res, JSON.stringify({ results: peer.search(vector, k) }))
    })
  }).listen(Number(port), '127.0.0.1')
}
