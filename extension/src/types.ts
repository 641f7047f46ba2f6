/** What the server extension sends. Field names are those of the Python side. */

export interface IClusterSummary {
  cluster_id: string;
  name: string;
  address: string;
  /** Seconds since the epoch, on the server's clock. */
  created: number;
  started_by: string;
  linger_s: number | null;
  state: 'running' | 'unreachable' | 'stopping';
  reason: string | null;
  nodes: number | null;
  resources: Resources | null;
}

export type Resources = { [name: string]: number };

export interface IGpu {
  index: number;
  name: string;
  utilization: number | null;
  mem_used: number | null;
  mem_total: number | null;
  temperature: number | null;
}

export interface INode {
  node_id: string;
  name: string;
  host: string;
  alive: boolean;
  is_head: boolean;
  resources_total: Resources;
  resources_available: Resources;
  cpu_percent: number;
  mem_used: number;
  mem_total: number;
  store_used: number;
  store_capacity: number;
  store_objects: number;
  executors: number;
  gpus: IGpu[];
}

export interface ITaskRow {
  name: string;
  pending: number;
  running: number;
  finished: number;
  failed: number;
}

export interface IActorRow {
  actor_id: string;
  class_name: string;
  name: string | null;
  state: string;
  node_id: string | null;
  pid: number | null;
  pending: number;
}

export interface IDemand {
  resources: Resources;
  count: number;
}

export interface ISnapshot {
  cluster_id: string;
  name: string;
  address: string;
  time: number;
  started_by: string;
  uptime_s: number;
  nodes: INode[];
  tasks: ITaskRow[];
  actors: IActorRow[];
  resources_total: Resources;
  resources_available: Resources;
  demand: IDemand[];
  drivers: { pid: number; job_id: string }[];
  /** How many rows there were before the server cut them to what a panel can show. */
  totals: { nodes: number; tasks: number; actors: number };
}

export interface IStartOptions {
  name?: string;
  num_cpus?: number;
  num_gpus?: number;
}

export type LiveMessage =
  | {
      type: 'clusters';
      clusters: IClusterSummary[];
      starting: (string | null)[];
      time: number;
    }
  | { type: 'snapshot'; cluster: string; snapshot: ISnapshot }
  | { type: 'unreachable'; cluster: string; reason: string | null }
  | { type: 'gone'; cluster: string }
  | { type: 'error'; message: string; field?: string };
