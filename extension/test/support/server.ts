/**
 * The Jupyter server as the panel sees it: answers of the REST interface and the websocket, without a network.
 * What it says is what the real one says (tests/extension checks that one).
 */

import { ServerConnection } from '@jupyterlab/services';

import { applied } from '../../src/changes';
import type { IChange, IClusterSummary, IDocuments, IOptions, Topic } from '../../src/types';

export const BASE = 'http://jupyter.test/base/';

export interface IRequest {
  method: string;
  /** Below `rayjup/`, with the query. */
  path: string;
  body: any;
}

type Answer = { status: number; body?: unknown };

/** The browser's side of a websocket, and the server's: `receive`, `drop`. */
export class Socket {
  onopen: ((event: any) => void) | null = null;
  onmessage: ((event: any) => void) | null = null;
  onclose: ((event: any) => void) | null = null;
  closed = false;
  paused = false;
  readonly subscribed = new Map<string, number>();

  constructor(
    readonly url: string,
    private _server: Server
  ) {
    setTimeout(() => this._server.opened(this), 0);
  }

  send(text: string): void {
    const { type, topic, cluster } = JSON.parse(text);
    this._server.said.push([type, topic].filter(Boolean).join(' '));
    const key = `${topic} ${cluster}`;
    if (type === 'subscribe' && topic === 'clusters') {
      this.sendClusters();
    } else if (type === 'subscribe') {
      this.subscribed.set(key, 0);
      this.sendWhole(topic, cluster);
    } else if (type === 'unsubscribe') {
      this.subscribed.delete(key);
    } else {
      this.paused = type === 'pause';
    }
  }

  close(): void {
    this.closed = true;
  }

  receive(message: object): void {
    if (!this.closed) {
      setTimeout(() => this.onmessage?.({ data: JSON.stringify(message) }), 0);
    }
  }

  sendClusters(): void {
    const { clusters, starting } = this._server;
    this.receive({ type: 'clusters', clusters, starting, time: this._server.time() });
  }

  sendWhole(topic: Topic, cluster: string): void {
    const document = this._server.documents.get(`${topic} ${cluster}`);
    if (document) {
      this.subscribed.set(`${topic} ${cluster}`, 1);
      this.receive({ type: 'whole', topic, cluster, version: 1, document });
    }
  }
}

export class Server {
  clusters: IClusterSummary[] = [];
  starting: (string | null)[] = [];
  readonly documents = new Map<string, any>();
  readonly requests: IRequest[] = [];
  /** What came over websockets, as `subscribe snapshot`. */
  readonly said: string[] = [];
  readonly sockets: Socket[] = [];
  /** False: nobody answers. */
  up = true;
  options: IOptions = {
    schema: SCHEMA,
    node_schema: {},
    profiles: {},
    may_start_without_profile: true,
    max_clusters: 8
  };

  time(): number {
    return 1_700_000_000;
  }

  get socket(): Socket {
    return this.sockets[this.sockets.length - 1];
  }

  get settings(): ServerConnection.ISettings {
    const server = this;
    class TestSocket extends Socket {
      constructor(url: string) {
        super(url, server);
        server.sockets.push(this);
      }
    }
    return ServerConnection.makeSettings({
      baseUrl: BASE,
      wsUrl: BASE.replace('http', 'ws'),
      token: '',
      fetch: async (request: any) => server._answer(request as Request),
      WebSocket: TestSocket as any
    });
  }

  /** Have a request answered so, until told otherwise; `method path`, with `*` for anything. */
  on(pattern: string, answer: (request: IRequest) => Answer | Promise<Answer>): void {
    const [method, path] = pattern.split(' ');
    const parts = path.split('*').map(part => part.replace(/[.?+^$()[\]{}|\\]/g, '\\$&'));
    this._routes.unshift({ method, path: new RegExp(`^${parts.join('[^?]*')}(\\?.*)?$`), answer });
  }

  asked(method: string): string[] {
    return this.requests.filter(request => request.method === method).map(request => request.path);
  }

  /** A document as it is from now on; who has subscribed gets it. */
  put<T extends Topic>(topic: T, cluster: string, document: IDocuments[T]): void {
    this.documents.set(`${topic} ${cluster}`, document);
    if (this.socket?.subscribed.has(`${topic} ${cluster}`)) {
      this.socket.sendWhole(topic, cluster);
    }
  }

  /** A change of a document. */
  change(topic: Topic, cluster: string, change: IChange): void {
    const key = `${topic} ${cluster}`;
    this.documents.set(key, applied(this.documents.get(key), change));
    const from = this.socket.subscribed.get(key)!;
    this.socket.subscribed.set(key, from + 1);
    this.socket.receive({ type: 'change', topic, cluster, from, version: from + 1, change });
  }

  setClusters(...clusters: IClusterSummary[]): void {
    this.clusters = clusters;
    this.socket?.sendClusters();
  }

  /** The server ends, or is there again. */
  setUp(up: boolean): void {
    this.up = up;
    if (!up) {
      const socket = this.socket;
      socket.closed = true;
      socket.onclose?.({});
    }
  }

  opened(socket: Socket): void {
    if (socket.closed) {
      return;
    }
    if (this.up) {
      socket.onopen?.({});
    } else {
      socket.closed = true;
      socket.onclose?.({});
    }
  }

  private async _answer(request: Request): Promise<Response> {
    if (!this.up) {
      throw new TypeError('Failed to fetch');
    }
    const text = await request.text();
    const path = request.url.replace(`${BASE}rayjup/`, '').replace(/[?&]\d{13}$/, '');
    const about = { method: request.method, path, body: text ? JSON.parse(text) : null };
    this.requests.push(about);
    const route = this._routes.find(one => one.method === about.method && one.path.test(path));
    const { status, body } = route ? await route.answer(about) : this._usual(about);
    const bare = status === 204 || body === undefined;
    return new Response(bare ? null : JSON.stringify(body), { status });
  }

  private _usual({ method, path }: IRequest): Answer {
    if (method === 'GET' && path === 'clusters') {
      return { status: 200, body: { clusters: this.clusters, starting: this.starting } };
    }
    if (method === 'GET' && path === 'options') {
      return { status: 200, body: this.options };
    }
    return method === 'DELETE' ? { status: 204 } : { status: 200, body: {} };
  }

  private _routes: {
    method: string;
    path: RegExp;
    answer: (request: IRequest) => Answer | Promise<Answer>;
  }[] = [];
}

const SCHEMA = {
  type: 'object',
  properties: {
    name: { type: 'string', title: 'Name' },
    num_cpus: { type: 'number', title: 'CPUs', minimum: 0 },
    object_store_memory: { type: 'integer', title: 'Object store', format: 'bytes' },
    profile: { type: 'string', title: 'Profile' }
  }
};
