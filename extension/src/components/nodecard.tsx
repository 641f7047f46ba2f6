import * as React from 'react';

import { amount, bytes, bytesOf, percent, resources, share } from '../format';
import { t, tn } from '../text';
import type { IGpu, INode } from '../types';
import { Meter } from './meter';

/** One machine: CPU, memory, object store and GPUs. */
export function NodeCard(props: { node: INode; open: boolean; children?: React.ReactNode }): JSX.Element {
  const { node } = props;
  if (!node.alive) {
    return (
      <div className="rj-Node rj-mod-dead" title={`${node.name}\n${node.node_id}`}>
        <span className="rj-Node-name">{node.name}</span>
        <span className="rj-Badge rj-mod-error">{t('dead')}</span>
      </div>
    );
  }
  const cpus = node.resources_total.CPU ?? 0;
  const used = Math.max(0, cpus - (node.resources_available.CPU ?? 0));
  return (
    <details className="rj-Node" open={props.open} data-rayjup="node">
      <summary
        className="rj-Node-head"
        title={[
          `${node.name} (${node.host})`,
          t('node %1', node.node_id),
          resources(node.resources_total),
          tn('%1 executor', '%1 executors', node.executors)
        ].join('\n')}
      >
        <span className="rj-Node-name">{node.name}</span>
        {node.is_head && <span className="rj-Badge">{t('head')}</span>}
        <span className="rj-Node-note">
          {amount(used)} / {amount(cpus)} CPU
        </span>
        {props.children}
      </summary>
      <Meter
        label="CPU"
        value={share(node.cpu_percent, 100)}
        text={percent(node.cpu_percent)}
        title={t('How busy the processors of the machine are')}
      />
      <Meter
        label={t('Memory')}
        value={share(node.mem_used, node.mem_total)}
        text={bytesOf(node.mem_used, node.mem_total)}
        title={t('Memory of the machine in use')}
        scarce
      />
      <Meter
        label={t('Store')}
        value={share(node.store_used, node.store_capacity)}
        text={bytesOf(node.store_used, node.store_capacity)}
        title={tn(
          'Object store: %1 object in shared memory',
          'Object store: %1 objects in shared memory',
          node.store_objects
        )}
        scarce
      />
      {node.gpus.length > 2 && <GpuStrip gpus={node.gpus} />}
      {node.gpus.length <= 2 && node.gpus.map(gpu => <GpuMeter key={gpu.index} gpu={gpu} />)}
      {node.gpus.length === 0 && <DeclaredGpus node={node} />}
    </details>
  );
}

/** Many GPUs in one line: how busy each is, its memory beneath, the rest in words. */
function GpuStrip(props: { gpus: IGpu[] }): JSX.Element {
  const { gpus } = props;
  const busy = gpus.reduce((sum, gpu) => sum + (gpu.utilization ?? 0), 0) / gpus.length;
  return (
    <div className="rj-Meter" data-rayjup="gpus">
      <span className="rj-Meter-label">GPUs</span>
      <ul className="rj-Strip" aria-label={`GPUs: ${percent(busy)}`}>
        {gpus.map(gpu => {
          const text = describe(gpu);
          // Of a GPU that is divided nobody knows how busy it is: its slices' memory is shown in its place.
          const busy = gpu.utilization ?? share(gpu.mem_used ?? 0, gpu.mem_total ?? 0) * 100;
          return (
            <li key={gpu.index} className="rj-Strip-gpu" title={text} aria-label={text}>
              <span className="rj-Strip-busy" style={{ height: `${share(busy, 100) * 100}%` }} />
              <span
                className="rj-Strip-memory"
                style={{ width: `${share(gpu.mem_used ?? 0, gpu.mem_total ?? 0) * 100}%` }}
              />
            </li>
          );
        })}
      </ul>
      <span className="rj-Meter-text">{percent(busy)}</span>
    </div>
  );
}

function describe(gpu: IGpu): string {
  const parts = [`GPU ${gpu.index}`, gpu.name];
  parts.push(gpu.utilization === null ? t('busy: unknown') : percent(gpu.utilization));
  if (gpu.mem_used !== null && gpu.mem_total !== null) {
    parts.push(bytesOf(gpu.mem_used, gpu.mem_total));
  }
  if (gpu.temperature !== null) {
    parts.push(`${Math.round(gpu.temperature)} °C`);
  }
  const lines = [parts.join(', ')];
  for (const { pid, mem_used } of gpu.processes ?? []) {
    lines.push(`pid ${pid}: ${bytes(mem_used)}`);
  }
  for (const slice of gpu.slices ?? []) {
    lines.push(t('slice %1: %2', slice.index, describe({ ...slice, slices: [] })));
  }
  return lines.join('\n');
}

/** GPUs that are only declared, or cannot be measured: how many are taken. */
function DeclaredGpus(props: { node: INode }): JSX.Element | null {
  const total = props.node.resources_total.GPU ?? 0;
  if (total <= 0) {
    return null;
  }
  const used = Math.max(0, total - (props.node.resources_available.GPU ?? 0));
  return (
    <div className="rj-Meter" data-rayjup="gpus" title={t('GPUs of this node that tasks and actors hold; not measured')}>
      <span className="rj-Meter-label">GPUs</span>
      <ul className="rj-Strip" aria-label={t('%1 of %2 GPUs in use', amount(used), amount(total))}>
        {Array.from({ length: Math.min(64, Math.ceil(total)) }, (_, index) => (
          <li key={index} className="rj-Strip-gpu">
            <span
              className="rj-Strip-busy"
              style={{ height: `${Math.min(1, Math.max(0, used - index)) * 100}%` }}
            />
          </li>
        ))}
      </ul>
      <span className="rj-Meter-text">
        {amount(used)} / {amount(total)}
      </span>
    </div>
  );
}

function GpuMeter(props: { gpu: IGpu }): JSX.Element {
  const { index, utilization, mem_used, mem_total } = props.gpu;
  const texts = [utilization === null ? t('busy: unknown') : percent(utilization)];
  if (mem_used !== null && mem_total !== null) {
    texts.push(bytesOf(mem_used, mem_total));
  }
  return (
    <Meter
      label={`GPU ${index}`}
      value={share(utilization ?? 0, 100)}
      text={texts.join(' · ')}
      title={describe(props.gpu)}
    />
  );
}
