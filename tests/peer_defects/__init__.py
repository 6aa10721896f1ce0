"""What Pipecat 1.14.0 gets wrong, as tests that ours must pass.

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
| P1, P11, P13, P3, P4, B5, P5, P6, P16, P12, S1, S2, J16 | what a peer may do over a link | `test_trust_boundary` |
| P17, P17b, P18, B8, R1, J14, R4, B11, P10 | links that are lost, and jobs over a link | `test_links` |
| P7, P8, P14, P15, P19, P20, P20b, P21, P22 | connecting, frames and sizes | `test_links` |

Left out: B7, B9 (Redis) and Q2, Q3 (its queue client), whose edges the package does not have; G1, G2
(bridges of pipelines) and U7 (UI messages), which are about parts that it does not have.  P2 and P9
are no weaknesses.
"""
