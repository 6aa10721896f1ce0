#!/usr/bin/env escript
%% Drives Erlang's own `supervisor' through crash schedules and writes down what it did.
%%
%% stdin:  Erlang terms from schedules.py
%% stdout: JSON: the same schedules, each with the trace recorded here
%%
%% Who writes an event down:
%%   "start"         the child, in init/1
%%   "start_failed"  the child, in init/1, when the schedule told it to fail
%%   "exit"          the child, in terminate/2, when it ends by itself ("crash" or "normal")
%%   "stop"          the child, in terminate/2, when the supervisor ends it
%%   "supervisor_down", "supervisor_end"
%%                   this driver, when the supervisor process is gone: by itself, or because
%%                   the driver shut it down after the last step
%%
%% A trace is a list of groups: the events of the start, then those of each step, then (if the
%% supervisor still lives) those of the shutdown. A step is over when the supervisor is at rest.
-mode(compile).
-export([main/1, init/1, start_child/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

main([]) ->
    logger:set_primary_config(level, none),
    process_flag(trap_exit, true),
    [{seed, Seed} | Schedules] = read_terms(),
    io:format("{\"otp_release\": \"~s\", \"erts\": \"~s\", \"seed\": ~b, \"schedules\": [~n~s~n]}~n",
              [erlang:system_info(otp_release), erlang:system_info(version), Seed,
               lists:join(",\n", [json(record(Schedule)) || Schedule <- Schedules])]).

read_terms() ->
    case io:read('') of
        {ok, Term} -> [Term | read_terms()];
        eof -> []
    end.

%%% Driver

record({Id, Strategy, Intensity, Period, Children, Failing, Steps}) ->
    Log = ets:new(log, [ordered_set, public]),
    [fail_next(Log, Child, Times) || {Child, Times} <- Failing],
    Flags = #{strategy => Strategy, intensity => Intensity, period => Period},
    Trace = case supervisor:start_link(?MODULE, {supervisor, Log, Flags, Children}) of
                {ok, Sup} ->
                    Started = take(Log),
                    [Started | run(Steps, Sup, Log)];
                {error, _Reason} ->
                    receive {'EXIT', _Sup, _} -> ok end,
                    log(Log, [supervisor_down]),
                    [take(Log)]
            end,
    ets:delete(Log),
    {Id, Strategy, Intensity, Period, Children, Failing, Steps, Trace}.

run([], Sup, Log) ->
    exit(Sup, shutdown),
    receive {'EXIT', Sup, _} -> log(Log, [supervisor_end]) end,
    [take(Log)];
run([Step | Steps], Sup, Log) ->
    case apply_step(Step, Sup, Log) of
        up ->
            Events = take(Log),
            [Events | run(Steps, Sup, Log)];
        down ->
            log(Log, [supervisor_down]),
            [take(Log)]
    end.

apply_step({wait_ms, Milliseconds}, _Sup, _Log) ->
    timer:sleep(Milliseconds),
    up;
apply_step({fail_next, Child, Times}, _Sup, Log) ->
    fail_next(Log, Child, Times),
    up;
apply_step({How, Child}, Sup, _Log) when How =:= crash; How =:= exit_normal ->
    case lists:keyfind(Child, 1, supervisor:which_children(Sup)) of
        {Child, Pid, _, _} when is_pid(Pid) ->
            gen_server:cast(Pid, How),
            settle(Sup, Pid);
        _NotRunning ->
            up
    end.

%% The supervisor restarts within one callback, or shows `restarting' while it is going to try
%% again, or is gone: so it is at rest as soon as it answers without the old pid.
settle(Sup, Old) ->
    try supervisor:which_children(Sup) of
        Children ->
            case [busy || {_, Pid, _, _} <- Children, Pid =:= Old orelse Pid =:= restarting] of
                [] -> up;
                _ -> timer:sleep(1), settle(Sup, Old)
            end
    catch
        exit:_ -> receive {'EXIT', Sup, shutdown} -> down end
    end.

%%% Log: events under {event, N}, failures still to come under {fail, Child}

log(Log, Event) -> ets:insert(Log, {{event, erlang:unique_integer([monotonic])}, Event}).

take(Log) ->
    Events = [Event || [Event] <- ets:match(Log, {{event, '_'}, '$1'})],
    ets:match_delete(Log, {{event, '_'}, '_'}),
    Events.

fail_next(Log, Child, Times) ->
    ets:insert(Log, {{fail, Child}, Times}).

fails(Log, Child) ->
    case ets:lookup(Log, {fail, Child}) of
        [{_, Times}] when Times > 0 -> ets:insert(Log, {{fail, Child}, Times - 1}), true;
        _ -> false
    end.

%%% Supervisor and child callbacks

init({supervisor, Log, Flags, Children}) ->
    {ok, {Flags, [#{id => Child, start => {?MODULE, start_child, [Log, Child]}, restart => Kind}
                  || {Child, Kind} <- Children]}};
init({child, Log, Child}) ->
    process_flag(trap_exit, true),
    case fails(Log, Child) of
        true -> log(Log, [start_failed, Child]), {stop, boom};
        false -> log(Log, [start, Child]), {ok, {Log, Child}}
    end.

start_child(Log, Child) -> gen_server:start_link(?MODULE, {child, Log, Child}, []).

handle_call(_Request, _From, State) -> {noreply, State}.
handle_info(_Info, State) -> {noreply, State}.
handle_cast(crash, State) -> {stop, boom, State};
handle_cast(exit_normal, State) -> {stop, normal, State}.

terminate(boom, {Log, Child}) -> log(Log, [exit, Child, crash]);
terminate(normal, {Log, Child}) -> log(Log, [exit, Child, normal]);
terminate(shutdown, {Log, Child}) -> log(Log, [stop, Child]).

%%% JSON: atoms are strings, tuples and lists are arrays

json({Id, Strategy, Intensity, Period, Children, Failing, Steps, Trace}) ->
    Pairs = [{"id", value(list_to_atom(Id))}, {"strategy", value(Strategy)},
             {"intensity", value(Intensity)}, {"period", value(Period)},
             {"children", value(Children)}, {"failing", value(Failing)},
             {"steps", value(Steps)}, {"trace", value(Trace)}],
    ["{", lists:join(", ", [["\"", Key, "\": ", Value] || {Key, Value} <- Pairs]), "}"].

value(Atom) when is_atom(Atom) -> ["\"", atom_to_list(Atom), "\""];
value(Number) when is_integer(Number) -> integer_to_list(Number);
value(Tuple) when is_tuple(Tuple) -> value(tuple_to_list(Tuple));
value(List) when is_list(List) -> ["[", lists:join(",", [value(Item) || Item <- List]), "]"].
