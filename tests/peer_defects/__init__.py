"""What Pipecat 1.14.0 gets wrong in one process, as tests that ours must pass.

Each test is named after the finding, and says what the peer does and what ours does instead.

| Ids | What it is about | Tested here |
|---|---|---|
| J1, J2 | a handler that raises, or never answers | `test_requester` |
| J3, R1, J5, R2 | jobs and activity | `test_requester` |
| J6, J8, J7, L3, J9 | workers that end, are cut off, have finished, or never existed | `test_requester` |
| J21 (thrice), J23, R4, J14 | hooks, events and their order | `test_requester` |
| J13, J11, J12, P10 | groups, cancels without a reason, impossible responses | `test_requester` |
| L1, L21, L4, L15, L6, L7, J17 | ending and cancelling | `test_lifecycle` |
| L8, R5 | unbounded queues | `test_lifecycle` |
| L9, L10, R6, L11, L12, L19 | crashes, names, adding | `test_lifecycle` |
| L13, L16, R12, R11 | the runner | `test_lifecycle` |

Left out, because they need a network: B11, B8, B7, B9 (Redis), Q2, Q3 (its queue client), P17,
P15, P17b, P19, P21, P8, P18 (WebSocket proxies).  They are tested where those edges are.  G1, G2
(bridges of pipelines) and U7 (UI messages) are about parts that the core does not have.
"""
