import { CommandRegistry } from '@lumino/commands';
import * as React from 'react';

import { CommandIDs } from '../commandids';
import { amount, resources } from '../format';
import { PanelModel } from '../model';
import { element, PANES } from '../panes';
import { t, tn } from '../text';
import type { IClusterSummary, IDocuments, Resources } from '../types';
import { useDocument } from './hooks';
import { Section } from './section';

/** The live view of the selected cluster. */
export function ClusterDetails(props: {
  cluster: IClusterSummary;
  model: PanelModel;
  commands: CommandRegistry;
}): JSX.Element {
  const { cluster, commands, model } = props;
  const snapshot = useDocument(model, 'snapshot');
  const trouble = model.trouble('snapshot');
  if (trouble) {
    return (
      <div className="rj-Details">
        <p className="rj-Hint rj-mod-error" role="status">
          {t('Cluster “%1” does not answer: %2. Its state is shown again as soon as it does.', cluster.name, trouble)}
        </p>
        {cluster.log && (
          <>
            <p className="rj-Hint">{t('The last lines of its log:')}</p>
            <pre className="rj-Note">{cluster.log}</pre>
          </>
        )}
      </div>
    );
  }
  if (!snapshot) {
    return <p className="rj-Hint">{t('Reading the state of “%1”…', cluster.name)}</p>;
  }
  const documents: Partial<IDocuments> = {};
  for (const { topic } of PANES) {
    (documents as any)[topic] = model.document(topic) ?? undefined;
  }
  return (
    <div className="rj-Details" data-rayjup="details">
      <Summary cluster={cluster} model={model} />
      {PANES.map(pane => (
        <Section
          key={pane.name}
          name={pane.name}
          title={t(pane.title)}
          count={pane.count(documents)}
          folded={model.isFolded(pane.name, pane.folded)}
          onFold={folded => model.fold(pane.name, folded)}
          onOpen={() => void commands.execute(CommandIDs.openPane, { pane: pane.name })}
        >
          {() => element(pane, { model, cluster })}
        </Section>
      ))}
    </div>
  );
}

/** Who uses the cluster and how much of it, in one or two lines. */
function Summary(props: { cluster: IClusterSummary; model: PanelModel }): JSX.Element | null {
  const snapshot = props.model.snapshot;
  if (!snapshot) {
    return null;
  }
  const waiting = snapshot.demand.reduce((sum, demand) => sum + demand.count, 0);
  return (
    <div className="rj-Summary">
      {['CPU', 'GPU'].map(name => (
        <InUse key={name} name={name} total={snapshot.resources_total} free={snapshot.resources_available} />
      ))}
      <span className="rj-Chip" title={t('Notebooks and scripts connected to this cluster')}>
        {tn('%1 driver', '%1 drivers', snapshot.drivers.length)}
      </span>
      {waiting > 0 && (
        <span
          className="rj-Chip rj-mod-warn"
          title={snapshot.demand.map(d => `${d.count} × ${resources(d.resources)}`).join('\n')}
        >
          {t('%1 waiting for resources', waiting)}
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
      {t('%1 / %2 %3 in use', amount(used), amount(total), props.name)}
    </span>
  );
}
