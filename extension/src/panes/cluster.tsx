import { addIcon, closeIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import { useAction } from '../components/hooks';
import { IconButton } from '../components/iconbutton';
import { NodeCard } from '../components/nodecard';
import { IColumn, VirtualTable } from '../components/virtualtable';
import { count } from '../format';
import { t } from '../text';
import type { IActorRow, ITaskRow } from '../types';
import { Document, IPaneProps, Name, Problem } from './common';

/** Machines of the cluster with their load and GPUs; more can be added on this machine. */
export function NodesPane(props: IPaneProps): JSX.Element {
  const { model, cluster } = props;
  const action = useAction();
  const id = cluster.cluster_id;
  return (
    <Document model={model} topic="snapshot">
      {({ nodes }) => (
        <>
          {nodes.map(node => (
            <NodeCard key={node.node_id} node={node} open={nodes.length <= 4 || node.is_head}>
              {cluster.added?.includes(node.node_id) && (
                <IconButton
                  icon={closeIcon}
                  name="remove-node"
                  label={t('Take node %1 away', node.name)}
                  disabled={action.busy}
                  onClick={() => action.run(() => model.api.removeNode(id, node.node_id))}
                />
              )}
            </NodeCard>
          ))}
          {cluster.started_by !== 'dask' && (
            <div className="rj-Line rj-mod-wrap">
              <button
                className="rj-Button"
                data-rayjup="add-node"
                disabled={action.busy}
                title={t('Start one more node of this cluster on this machine')}
                onClick={() => action.run(() => model.api.addNode(id, {}))}
              >
                <addIcon.react tag="span" className="rj-Button-icon" />
                {action.busy ? t('Working…') : t('Add node')}
              </button>
              <Adapt key={id} {...props} />
            </div>
          )}
          <Problem text={action.error} />
        </>
      )}
    </Document>
  );
}

/** How many nodes the cluster may have by itself. */
function Adapt(props: IPaneProps): JSX.Element {
  const { model, cluster } = props;
  const action = useAction();
  const [most, setMost] = React.useState('4');
  const id = cluster.cluster_id;
  if (cluster.adapts) {
    return (
      <>
        <span className="rj-mod-quiet">{t('adapts to the load')}</span>
        <button
          className="rj-Button"
          data-rayjup="stop-adapting"
          disabled={action.busy}
          onClick={() => action.run(() => model.api.adapt(id, null))}
        >
          {t('Stop')}
        </button>
        <Problem text={action.error} />
      </>
    );
  }
  return (
    <>
      <button
        className="rj-Button"
        data-rayjup="adapt"
        disabled={action.busy || !(Number(most) >= 1)}
        title={t('Have nodes start while work waits, and end when they are idle')}
        onClick={() => action.run(() => model.api.adapt(id, { min: 1, max: Math.round(Number(most)) }))}
      >
        {t('Adapt to')}
      </button>
      <input
        type="number"
        min={1}
        max={1000}
        value={most}
        aria-label={t('Nodes at most')}
        onChange={event => setMost(event.target.value)}
      />
      <Problem text={action.error} />
    </>
  );
}

const COUNTS = ['pending', 'running', 'finished', 'failed'] as const;
/** Short enough for a narrow panel; the whole words are in the tooltips. */
const HEADS = { pending: 'wait', running: 'run', finished: 'done', failed: 'fail' };

function taskColumns(tasks: ITaskRow[]): IColumn<ITaskRow>[] {
  // As long as nothing has failed the names have the room.
  const counts = COUNTS.filter(name => name !== 'failed' || tasks.some(task => task.failed));
  return [
    {
      key: 'name',
      title: t('name'),
      width: 'minmax(60px, 1fr)',
      value: task => task.name,
      render: task => <Name text={task.name} />,
      tooltip: task => task.name
    },
    ...counts.map(
      (name): IColumn<ITaskRow> => ({
        key: name,
        title: t(HEADS[name]),
        width: 'minmax(36px, 6%)',
        number: true,
        value: task => task[name],
        tooltip: task => `${task[name]} ${t(name)}`,
        render: task => <span className={`rj-mod-${task[name] ? name : 'zero'}`}>{count(task[name])}</span>
      })
    )
  ];
}

/** Remote functions by name, with how many calls are where. */
export function TasksPane(props: IPaneProps): JSX.Element {
  return (
    <Document model={props.model} topic="snapshot">
      {({ tasks }) =>
        tasks.length === 0 ? (
          <p className="rj-Hint">{t('No tasks yet. Call a remote function and it appears here.')}</p>
        ) : (
          <>
            <Progress tasks={tasks} />
            <VirtualTable
              label={t('Tasks')}
              name="tasks"
              rows={tasks}
              columns={taskColumns(tasks)}
              rowKey={task => task.name}
              maxHeight={props.maxHeight ?? 360}
            />
          </>
        )
      }
    </Document>
  );
}

/** How much of all calls is done. */
function Progress(props: { tasks: ITaskRow[] }): JSX.Element | null {
  const sum = (name: (typeof COUNTS)[number]): number => props.tasks.reduce((all, task) => all + task[name], 0);
  const open = sum('pending') + sum('running');
  const all = open + sum('finished') + sum('failed');
  if (!open || !all) {
    return null;
  }
  return (
    <div className="rj-Stack" role="img" aria-label={t('%1 of %2 calls done', all - open, all)}>
      {(['finished', 'failed', 'running', 'pending'] as const).map(name => (
        <span key={name} className={`rj-mod-${name}`} style={{ flexGrow: sum(name) }} title={`${sum(name)} ${t(name)}`} />
      ))}
    </div>
  );
}

/** Ray's names of the states, in the words of the panel. */
const STATES: { [state: string]: { text: string; tone: string } } = {
  DEPENDENCIES_UNREADY: { text: 'waiting', tone: 'busy' },
  PENDING_CREATION: { text: 'starting', tone: 'busy' },
  ALIVE: { text: 'alive', tone: 'running' },
  RESTARTING: { text: 'restarting', tone: 'busy' },
  DEAD: { text: 'dead', tone: 'dead' }
};

/** Actors with their state; where they run is in the tooltip. */
export function ActorsPane(props: IPaneProps): JSX.Element {
  return (
    <Document model={props.model} topic="snapshot">
      {({ actors, nodes }) => {
        if (actors.length === 0) {
          return <p className="rj-Hint">{t('No actors yet.')}</p>;
        }
        const places = new Map(nodes.map(node => [node.node_id, node.name]));
        const columns: IColumn<IActorRow>[] = [
          {
            key: 'actor',
            title: t('actor'),
            width: 'minmax(70px, 1fr)',
            value: actor => actor.name || actor.class_name,
            render: actor => (
              <>
                {actor.name || actor.class_name}
                {actor.name && <span className="rj-Table-sub"> {actor.class_name}</span>}
              </>
            ),
            tooltip: actor =>
              [actor.name, actor.class_name, `actor ${actor.actor_id}`, places.get(actor.node_id ?? '')]
                .filter(Boolean)
                .join('\n')
          },
          {
            key: 'state',
            title: t('state'),
            width: '80px',
            value: actor => actor.state,
            render: actor => {
              const state = STATES[actor.state] ?? { text: actor.state.toLowerCase(), tone: 'busy' };
              return (
                <>
                  <span className={`rj-Dot rj-mod-${state.tone}`} /> {t(state.text)}
                </>
              );
            }
          },
          { key: 'pid', title: 'pid', width: '56px', number: true, optional: true, value: actor => actor.pid },
          {
            key: 'pending',
            title: t('pending'),
            width: '52px',
            number: true,
            value: actor => actor.pending,
            render: actor => (
              <span className={`rj-mod-${actor.pending ? 'pending' : 'zero'}`}>{count(actor.pending)}</span>
            )
          }
        ];
        return (
          <VirtualTable
            label={t('Actors')}
            name="actors"
            rows={actors}
            columns={columns}
            rowKey={actor => actor.actor_id}
            maxHeight={props.maxHeight ?? 360}
          />
        );
      }}
    </Document>
  );
}
