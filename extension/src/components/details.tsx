import * as React from 'react';

import { amount, plural, resources } from '../format';
import { PanelModel } from '../model';
import type { IClusterSummary, ISnapshot, Resources } from '../types';
import { ActorTable } from './actortable';
import { NodeCard } from './nodecard';
import { More, Section } from './section';
import { TaskTable } from './tasktable';

/** The live view of the selected cluster. */
export function ClusterDetails(props: { cluster: IClusterSummary; model: PanelModel }): JSX.Element {
  const { cluster, model } = props;
  const { snapshot, snapshotError } = model;
  if (snapshotError) {
    return (
      <div className="rj-Details">
        <p className="rj-Hint rj-mod-error" role="status">
          Cluster “{cluster.name}” does not answer: {snapshotError}. Its state is shown again as soon as it
          does.
        </p>
      </div>
    );
  }
  if (!snapshot) {
    return <p className="rj-Hint">Reading the state of “{cluster.name}”…</p>;
  }
  const { nodes, totals } = snapshot;
  return (
    <div className="rj-Details" data-rayjup="details">
      <Summary snapshot={snapshot} />
      <Section title="Nodes" count={totals.nodes}>
        {nodes.map(node => (
          <NodeCard key={node.node_id} node={node} open={nodes.length <= 4 || node.is_head} />
        ))}
        <More shown={nodes.length} total={totals.nodes} />
      </Section>
      <Section title="Tasks" count={totals.tasks}>
        <TaskTable tasks={snapshot.tasks} total={totals.tasks} />
      </Section>
      <Section title="Actors" count={totals.actors}>
        <ActorTable actors={snapshot.actors} nodes={nodes} total={totals.actors} />
      </Section>
    </div>
  );
}

/** Who uses the cluster and how much of it, in one or two lines. */
function Summary(props: { snapshot: ISnapshot }): JSX.Element {
  const { snapshot } = props;
  const waiting = snapshot.demand.reduce((sum, demand) => sum + demand.count, 0);
  return (
    <div className="rj-Summary">
      {['CPU', 'GPU'].map(name => (
        <InUse key={name} name={name} total={snapshot.resources_total} free={snapshot.resources_available} />
      ))}
      <span className="rj-Chip" title="Notebooks and scripts connected to this cluster">
        {plural(snapshot.drivers.length, 'driver')}
      </span>
      {waiting > 0 && (
        <span
          className="rj-Chip rj-mod-warn"
          title={snapshot.demand.map(d => `${d.count} × ${resources(d.resources)}`).join('\n')}
        >
          {waiting} waiting for resources
        </span>
      )}
    </div>
  );
}

function InUse(props: { name: string; total: Resources; free: Resources }): JSX.Element | null {
  const total = props.total[props.name] ?? 0;
  if (total <= 0) {
    return null;
  }
  const used = Math.max(0, total - (props.free[props.name] ?? 0));
  return (
    <span className="rj-Chip" data-rayjup={`in-use-${props.name}`}>
      {amount(used)} / {amount(total)} {props.name} in use
    </span>
  );
}
