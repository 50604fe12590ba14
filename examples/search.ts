// Search vendors from TypeScript. usage: node search.ts [question] (Node.js 22.18; older ones need a build step)

const url = process.env.VECTORSTORE_URL ?? "http://localhost:8080";
const key = process.env.VECTORSTORE_KEY;

export interface Hit {
  id: string;
  text: string;
  /** 0..1, best first */
  score: number;
  /** with highlight: HTML, the words of the question in mark elements */
  highlight?: string;
  /** the vendor's record, or those of its fields that were asked for */
  metadata: Record<string, unknown>;
}

export interface Answer {
  results: Hit[];
  /** records that match the filter */
  total: number;
  facets?: Record<string, { value: string | number | boolean | null; count: number }[]>;
  /** the embedding provider failed: answered by the words alone */
  degraded?: "lexical";
  /** id of the snapshot that all results come from */
  snapshot: string;
  took_ms: number;
  warnings?: string[];
}

export interface Question {
  query?: string;
  similar_to?: string;
  k?: number;
  offset?: number;
  min_score?: number;
  sort?: { field: string; order?: "asc" | "desc" };
  fields?: string[];
  facets?: string[];
  highlight?: boolean;
  mode?: "hybrid" | "semantic" | "lexical";
  filter?: Record<string, unknown>;
}

/** What the server said instead of an answer: RFC 9457 problem details. */
export class ProblemError extends Error {
  readonly status: number;
  constructor(status: number, problem: { title?: string; detail?: string }) {
    super(`${status} ${problem.title ?? ""}: ${problem.detail ?? ""}`);
    this.status = status;
  }
}

export async function search(question: Question, signal?: AbortSignal): Promise<Answer> {
  const headers: Record<string, string> = { "Content-Type": "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  const answer = await fetch(`${url}/search`, {
    method: "POST",
    headers,
    body: JSON.stringify(question),
    signal: signal ?? AbortSignal.timeout(30_000),
  });
  const body: unknown = await answer.json();
  if (!answer.ok) throw new ProblemError(answer.status, body as { title?: string; detail?: string });
  return body as Answer;
}

const question = process.argv[2] ?? "冷凍倉庫の温度を監視したい";
for (const hit of (await search({ query: question, k: 3 })).results) {
  console.log(`${hit.score.toFixed(2)}\t${hit.id}\t${hit.metadata.name ?? ""}`);
}
console.log("SaaS with at least 7 points:");
for (const hit of (await search({ k: 3, filter: { type: ["SaaS"], score_num: { gte: 7 } } })).results) {
  console.log(`${hit.id}\t${hit.metadata.score_num}`);
}
const types = await search({ k: 1, filter: {}, facets: ["type"] });
console.log(`${types.total} vendors: ${types.facets?.type?.map((t) => `${t.count} ${t.value}`).join(", ")}`);
try {
  await search({ query: question, k: 101 });
} catch (err) {
  if (!(err instanceof ProblemError)) throw err;
  console.log("a k above 100 is refused:", err.message);
}
