import type { GatewayOperation } from './gateway-operation.ts';

/** What whoever runs the server asks; none takes a tenant's key. */
export const OPERATOR_OPERATIONS: GatewayOperation[] = [
  {
    method: 'get',
    path: '/health',
    tag: 'health',
    summary: 'What runs and what lacks',
    open: true,
  },
  {
    method: 'get',
    path: '/health/live',
    tag: 'health',
    summary: 'The process answers',
    open: true,
  },
  {
    method: 'get',
    path: '/health/ready',
    tag: 'health',
    summary: 'Redis answers and every stage has a live worker; else 503',
    open: true,
  },
  {
    method: 'get',
    path: '/metrics',
    tag: 'health',
    summary: 'For Prometheus; to `ADMIN_KEY`, or without one to clients on the same machine',
    answers: ['text/plain'],
    open: true,
  },
  {
    method: 'get',
    path: '/queues',
    tag: 'health',
    summary: 'What waits in each queue and who takes from it; to the same',
    answers: ['application/json', 'text/html'],
    open: true,
  },
];
