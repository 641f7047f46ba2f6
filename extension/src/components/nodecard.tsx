import * as React from 'react';

import { amount, bytesOf, count, percent, plural, resources, share } from '../format';
import type { IGpu, INode } from '../types';
import { Meter } from './meter';

/** One machine: CPU, memory, object store and GPUs. */
export function NodeCard(props: { node: INode; open: boolean }): JSX.Element {
  const { node } = props;
  if (!node.alive) {
    return (
      <div className="rj-Node rj-mod-dead" title={`${node.name}\n${node.node_id}`}>
        <span className="rj-Node-name">{node.name}</span>
        <span className="rj-Badge rj-mod-error">dead</span>
      </div>
    );
  }
  const cpus = node.resources_total.CPU ?? 0;
  const used = Math.max(0, cpus - (node.resources_available.CPU ?? 0));
  return (
    <details className="rj-Node" open={props.open} data-rayjup="node">
      <summary
        className="rj-Node-head"
        title={`${node.name} (${node.host})\nnode ${node.node_id}\n${resources(node.resources_total)}\n${plural(node.executors, 'executor')}`}
      >
        <span className="rj-Node-name">{node.name}</span>
        {node.is_head && <span className="rj-Badge">head</span>}
        <span className="rj-Node-note">
          {amount(used)} / {amount(cpus)} CPU
        </span>
      </summary>
      <Meter
        label="CPU"
        value={share(node.cpu_percent, 100)}
        text={percent(node.cpu_percent)}
        title="How busy the machine's processors are"
      />
      <Meter
        label="Memory"
        value={share(node.mem_used, node.mem_total)}
        text={bytesOf(node.mem_used, node.mem_total)}
        title="Memory of the machine in use"
        scarce
      />
      <Meter
        label="Store"
        value={share(node.store_used, node.store_capacity)}
        text={bytesOf(node.store_used, node.store_capacity)}
        title={`Object store: ${count(node.store_objects)} ${node.store_objects === 1 ? 'object' : 'objects'} in shared memory`}
        scarce
      />
      {node.gpus.map(gpu => (
        <GpuMeter key={gpu.index} gpu={gpu} />
      ))}
    </details>
  );
}

function GpuMeter(props: { gpu: IGpu }): JSX.Element {
  const { index, name, utilization, mem_used, mem_total, temperature } = props.gpu;
  const notes = [name];
  const texts = [utilization === null ? 'busy: unknown' : percent(utilization)];
  if (mem_used !== null && mem_total !== null) {
    texts.push(bytesOf(mem_used, mem_total));
  }
  if (temperature !== null) {
    notes.push(`${Math.round(temperature)} °C`);
  }
  return (
    <Meter
      label={`GPU ${index}`}
      value={share(utilization ?? 0, 100)}
      text={texts.join(' · ')}
      title={notes.join(', ')}
    />
  );
}
