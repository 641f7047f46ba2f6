import * as React from 'react';

import { count } from '../format';
import type { ITaskRow } from '../types';
import { More } from './section';

const COLUMNS = ['pending', 'running', 'finished', 'failed'] as const;

/** Remote functions by name, with how many calls are where. */
export function TaskTable(props: { tasks: ITaskRow[]; total: number }): JSX.Element {
  if (props.tasks.length === 0) {
    return <p className="rj-Hint">No tasks yet. Call a remote function and it appears here.</p>;
  }
  return (
    <>
      <table className="rj-Table rj-mod-tasks" data-rayjup="tasks">
        <thead>
          <tr>
            <th scope="col">name</th>
            {COLUMNS.map(column => (
              <th key={column} scope="col" className="rj-mod-number">
                {column}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {props.tasks.map(task => (
            <tr key={task.name}>
              <td className="rj-Table-name" title={task.name}>
                {task.name}
              </td>
              {COLUMNS.map(column => (
                <td
                  key={column}
                  data-label={column}
                  className={`rj-mod-number rj-mod-${task[column] ? column : 'zero'}`}
                  title={`${task[column]} ${column}`}
                >
                  {count(task[column])}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      <More shown={props.tasks.length} total={props.total} />
    </>
  );
}
