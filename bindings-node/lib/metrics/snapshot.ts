/** What a metric stands at, in prom-client's shape. */

/** A number with its labels. */
export interface Sample {
  /** The number. */
  value: number;
  /** Its labels, but for empty ones. */
  labels: Record<string, string | number>;
  /** The name on the page, where it is not the metric's. */
  metricName?: string;
}

/** A metric and its numbers. */
export interface MetricObject {
  /** Its name. */
  name: string;
  /** What the numbers mean. */
  help: string;
  /** `counter`, `gauge`, `histogram` or `summary`. */
  type: string;
  /** As it was given. */
  aggregator: string;
  /** Its numbers. */
  values: Sample[];
}

/** JSON has no NaN and no infinity: they travel as words. */
type Float = number | "NaN" | "+Inf" | "-Inf";

interface Family {
  series: { labels: [name: string, value: string][]; value: { number: Float } | { distribution: Distribution } }[];
}

interface Distribution {
  bounds: number[];
  counts: number[];
  sum: Float;
}

/** The samples of a family that the native half wrote as JSON. */
export function samples(name: string, type: string, json: string): Sample[] {
  const { series } = JSON.parse(json) as Family;
  return series.flatMap(({ labels: pairs, value }): Sample[] => {
    const labels = Object.fromEntries(pairs.filter(([, value]) => value !== ""));
    return "number" in value
      ? [{ value: float(value.number), labels }]
      : [...buckets(name, type, labels, value.distribution)];
  });
}

function* buckets(
  name: string,
  type: string,
  labels: Record<string, string>,
  { bounds, counts, sum }: Distribution,
): Generator<Sample> {
  let total = 0;
  for (const [at, count] of counts.entries()) {
    total += count;
    if (type === "histogram") {
      yield { labels: { le: bounds[at] ?? "+Inf", ...labels }, value: total, metricName: `${name}_bucket` };
    }
  }
  yield { labels, value: float(sum), metricName: `${name}_sum` };
  yield { labels, value: total, metricName: `${name}_count` };
}

function float(value: Float): number {
  if (typeof value === "number") return value;
  return value === "NaN" ? Number.NaN : value === "+Inf" ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
}
