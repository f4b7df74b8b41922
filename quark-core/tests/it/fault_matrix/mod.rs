//! The fault matrix: for each thing that can go wrong, what must happen, as a
//! test on the memory backends. Tests of other crates show the half of an
//! adapter. What is not built yet is said so.
//!
//! Paths are from this folder, or from the root of the repository if they begin
//! with the name of a crate. `tests/it/fault_matrix.rs` checks that every row and
//! every test is there.
//!
//! | # | fault | tests | what is different, or not there yet |
//! |---|---|---|---|
//! | 1 | killed before an intent commits | `deaths.rs::row_01_kill_before_an_intent_commits` | |
//! | 2 | killed after an intent, before its effect | `deaths.rs::row_02_kill_after_an_intent_before_its_effect` | |
//! | 3 | killed after an effect, before its outcome | `deaths.rs::row_03_kill_after_an_effect_before_its_outcome`, `quark-core/src/conformance/container_runtime/creating.rs::creating_twice_adopts`, `quark-local/tests/it/crashes.rs::a_process_that_was_not_written_down_is_adopted` | |
//! | 4 | killed in a build | `deaths.rs::row_04_kill_in_a_build`, `quark-local/tests/it/building.rs::a_second_build_takes_over_from_one_that_hangs`, `quark-local/tests/it/building.rs::discard_clears_up_after_an_engine_that_died` | A build is never gone on with: it is found whole or made again. |
//! | 5 | killed in probing | `deaths.rs::row_05_kill_in_probing_begins_the_row_again`, `deaths.rs::row_05_kill_in_probing_does_not_move_the_deadline`, `deaths.rs::row_05_kill_in_probing_until_the_deadline_is_over` | |
//! | 6 | killed in a cutover: intent only | `cutover.rs::row_06_kill_in_a_cutover_with_its_intent_only` | The matrix lets a cancel win here. In the engine the intent is the point of no return: `too_late`. |
//! | 7 | … written, not in force | `cutover.rs::row_07_kill_in_a_cutover_written_and_not_in_force`, `quark-nginx/tests/it/crashes.rs::a_site_that_was_written_and_not_read_is_read_or_replaced`, `quark-nginx/tests/it/crashes.rs::any_prefix_of_a_switch_is_whole` | |
//! | 8 | … in force, unconfirmed | `cutover.rs::row_08_kill_in_a_cutover_in_force_and_unconfirmed`, `cutover.rs::row_08_kill_in_a_cutover_that_the_router_then_refuses`, `quark-nginx/tests/it/crashes.rs::a_reload_that_nobody_confirms_leaves_the_routes_before` | |
//! | 9 | … in force, not written down | `cutover.rs::row_09_kill_in_a_cutover_in_force_and_not_written_down`, `cutover.rs::row_09_and_the_new_version_dies_before_the_restart`, `cutover.rs::row_09_and_the_machine_is_restarted` | |
//! | 10 | killed in a stop or a removal | `deaths.rs::row_10_kill_in_a_stop_or_a_removal`, `quark-core/src/conformance/container_runtime/stopping.rs::ending_what_has_ended_succeeds` | |
//! | 11 | all workers killed for an hour | `deaths.rs::row_11_kill_of_all_workers_for_an_hour` | The matrix wants the restart policy `unless-stopped` for live and standby. `quark-docker` sets `no`: after a restart of the machine nothing serves before an engine runs. |
//! | 12 | a call times out and took effect | `runtime.rs::row_12_a_call_times_out_and_took_effect`, `runtime.rs::row_12_what_a_call_makes_when_nobody_waits_for_it_any_more`, `quark-docker/tests/it/faults.rs::a_connection_that_breaks_leaves_the_outcome_open` | |
//! | 13 | the runtime is away | `runtime.rs::row_13_the_runtime_is_away_for_a_moment`, `runtime.rs::row_13_the_runtime_is_away_for_a_minute`, `runtime.rs::row_13_the_runtime_is_away_for_minutes_in_a_clean_up`, `quark-docker/tests/it/faults.rs::a_daemon_that_dies_later_is_unavailable_everywhere` | A step is tried for as long as its first attempt may take, cleaning up for ten minutes; after that it is stuck, and a person says `retry`. A bake that could not be looked at is given twice its time (`engine/bake.rs::what_cannot_be_looked_at_is_given_twice_its_time`). |
//! | 14 | the name is in use | `runtime.rs::row_14_the_name_belongs_to_somebody_else`, `quark-core/src/conformance/container_runtime/creating.rs::a_name_belongs_to_one_spec` | |
//! | 15 | the runtime is restarted | `runtime.rs::row_15_the_runtime_is_restarted_with_all_containers`, `quark-docker/tests/it/running.rs::ports_of_stopped_containers_are_not_given_away`, `quark-local/tests/it/crashes.rs::processes_of_another_boot_are_not_trusted` | Addresses are published loopback ports, so they survive. Not yet: a look at once when a daemon comes back; it is noticed within 60 s, and within 5 s if a look has failed meanwhile. |
//! | 16 | events are lost | `runtime.rs::row_16_nothing_is_told_and_all_is_seen` | No event is listened to at all: everything is compared every 60 s. |
//! | 17 | the route is invalid | `router.rs::row_17_a_route_that_is_invalid`, `quark-nginx/tests/it/refusals.rs::what_the_test_refuses_is_never_written`, `quark-nginx/tests/it/refusals.rs::a_broken_file_of_somebody_else_is_named_and_hinders_no_switch`, `quark-nginx/tests/it/refusals.rs::one_refused_change_hinders_none_that_waits_with_it` | |
//! | 18 | a change is rejected in silence | `router.rs::row_18_a_change_that_is_rejected_in_silence`, `router.rs::row_18_a_change_whose_confirmation_is_lost`, `quark-nginx/tests/it/refusals.rs::what_the_running_nginx_refuses_is_put_back`, `quark-nginx/tests/it/refusals.rs::an_address_that_is_taken_is_found_out_by_the_number_of_the_reload` | |
//! | 19 | the router is down | `router.rs::row_19_a_router_that_is_down`, `router.rs::row_19_a_router_that_is_down_for_a_moment`, `router.rs::row_19_a_router_that_goes_down_in_a_switch`, `quark-nginx/tests/it/crashes.rs::workers_without_a_master_serve_and_are_replaced`, `quark-nginx/tests/it/crashes.rs::an_nginx_that_was_killed_whole_is_started_by_the_next_change` | A deployment fails before its cutover. One whose cutover has begun is stuck after ten minutes, until a person says `retry`. |
//! | 20 | two changes at once | `router.rs::row_20_two_apps_are_switched_at_once`, `quark-nginx/tests/it/routes.rs::apps_that_wait_share_a_reload` | |
//! | 21 | a storm of changes | `router.rs::row_21_looking_at_many_apps_changes_no_route`, `quark-nginx/tests/it/routes.rs::a_switch_reloads_nothing`, `quark-nginx/tests/it/routes.rs::apps_that_wait_share_a_reload` | A switch is a marker file. Not yet: a bound on the number of old generations. |
//! | 22 | the store is down before an intent | `store.rs::row_22_the_store_is_down_before_an_intent` | |
//! | 23 | the store is down after an effect | `store.rs::row_23_the_store_is_down_after_an_effect` | |
//! | 24 | the answer to a commit is lost | `store.rs::row_24_the_answer_to_a_commit_is_lost`, `store.rs::row_24_the_answer_to_a_commit_is_lost_and_the_store_is_away`, `store.rs::row_24_the_answer_to_the_last_commit_is_lost`, `store.rs::row_24_the_answer_to_the_intent_of_the_cutover_is_lost`, `store.rs::row_24_the_answer_to_a_wish_is_lost` | |
//! | 25 | the store has gone back in time | `backup.rs::row_25_a_store_from_a_backup_touches_nothing`, `backup.rs::row_25_a_person_resumes_and_it_goes_on`, `backup.rs::row_25_the_last_events_are_lost`, `backup.rs::row_25_the_router_has_seen_a_later_fence`, `backup.rs::row_25_many_orphans_are_left_alone`, `quark-core/src/engine/drift.rs::too_many_orphans_are_suspicious` | Seen by the position of the store, the generations of the routes and the fences, instead of an epoch row. |
//! | 26 | the queue is flushed | `queue.rs::row_26_a_flushed_queue_is_built_again_at_the_start`, `queue.rs::row_26_a_queue_that_is_flushed_while_it_is_used`, `queue.rs::row_26_a_job_that_never_reached_the_queue`, `queue.rs::row_26_a_job_that_is_taken_for_a_duplicate` | Not yet: Redis itself. |
//! | 27 | a job is handed out while its worker lives | `queue.rs::row_27_a_job_is_handed_out_while_its_first_worker_lives`, `queue.rs::row_27_a_worker_whose_claim_ran_out_goes_on_under_its_lease`, `queue.rs::row_27_a_queue_that_hangs_costs_no_lease`, `quark-core/src/conformance/queue/claims.rs::what_comes_after_a_lost_claim_is_lost` | |
//! | 28 | a job that engines die of | `queue.rs::row_28_a_job_that_engines_die_of`, `queue.rs::row_28_deaths_at_different_steps_are_no_poison`, `queue.rs::row_28_a_shutdown_is_no_death`, `queue.rs::row_28_a_lost_lease_is_no_death`, `queue.rs::row_28_an_app_that_dies_kills_no_engine`, `queue.rs::row_28_deaths_in_the_clean_up_do_not_end_it` | Deaths are counted by the journal of the step, not by claims; five. Not yet: an end for a clean-up that engines die of. |
//! | 29 | clocks and pauses | `time.rs::row_29_a_pause_in_an_effect_makes_nothing_twice`, `time.rs::row_29_a_pause_before_a_stop_stops_nothing`, `time.rs::row_29_a_pause_before_a_write_writes_nothing`, `time.rs::row_29_a_step_of_the_clock_changes_no_outcome`, `time.rs::row_29_a_machine_with_a_wrong_clock_takes_over`, `quark-store/tests/it/sharing.rs::a_lease_that_ran_out_still_counts_until_somebody_takes_it` | |
//! | 30 | slow health, flapping | `health.rs::row_30_healthy_a_second_before_the_deadline`, `health.rs::row_30_healthy_a_second_after_the_deadline`, `health.rs::row_30_flapping_is_not_healthy`, `health.rs::row_30_healthy_once_and_then_dead` | Not yet: `min_healthy_time`; successes in a row and a last look before the switch stand for it. |
//! | 31 | healthy, and the container restarts | `health.rs::row_31_a_restart_begins_the_row_again`, `quark-docker/tests/it/running.rs::a_second_start_is_another_process` | Containers have no restart policy, so there is no count of restarts to look at: one that exits before it is healthy fails at once. |
//! | 32 | the new version dies in its bake | `health.rs::row_32_the_version_before_stands_in`, `health.rs::row_32_what_is_retired_does_not_stand_in`, `quark-nginx/tests/it/load.rs::the_backup_answers_when_the_active_slot_is_killed`, `quark-local/tests/it/proxy/losses.rs::the_other_slot_stands_in_only_when_connecting_fails` | It is rolled back by itself (`engine/bake_deaths.rs::what_dies_right_after_a_look_is_not_started_again_unseen`, and with Docker and nginx `tests/it/crashes.rs::a_version_that_dies_once_it_serves_costs_no_request`). |
//! | 33 | the live version dies later | `health.rs::row_33_the_live_version_dies_later` | Restarted in place. Not yet: the policy, the automatic rollback, the alarm. |
//! | 34 | the standby dies in its grace | `health.rs::row_34_the_standby_dies_in_its_grace`, `quark-core/tests/it/engine/rollback.rs::a_dead_standby_is_started_anew` | The rollback is cold. Not yet: the store and the API go on calling it a standby until then. |
//! | 35 | both die | `health.rs::row_35_both_die_and_can_be_started`, `health.rs::row_35_both_die_and_cannot_be_started` | The live one is started, every 5 s at most, and the route stays. Not yet: longer and longer waits, the standby, the alarm. |
//! | 36 | killed for its use of memory | `runtime.rs::row_36_killed_for_its_use_of_memory`, `quark-docker/tests/it/running.rs::a_kill_for_memory_is_told_from_other_kills` | |
//! | 37 | no space for a build or a pull | `people.rs::row_37_the_disk_is_full_in_a_build` | One retry. Not yet: the collection of images, the floor that is checked at admission, the adapters' own words for it. |
//! | 38 | no space for a route | `router.rs::row_38_no_space_for_the_route`, `quark-nginx/tests/it/refusals.rs::a_marker_that_cannot_be_made_leaves_the_old_slot` | Not yet: the reserve file. |
//! | 39 | no space for the store | `store.rs::row_39_the_disk_of_the_store_is_full`, `store.rs::row_39_the_disk_of_the_queue_is_full`, `quark-store/src/sqlite/writer/tests.rs::a_full_disk_is_told_and_survived` | |
//! | 40 | the engine is replaced in mid-deploy | `people.rs::row_40_an_engine_is_replaced_in_mid_deploy`, `people.rs::row_40_a_journal_of_an_older_version_is_read`, `quark-store/tests/it/file.rs::a_newer_schema_is_refused` | A step or state that is not known cannot be read at all. Not yet: it is left unclaimed, and said so. |
//! | 41 | a cancel races with the cutover | `cutover.rs::row_41_cancel_before_the_intent_of_the_cutover`, `cutover.rs::row_41_cancel_after_the_intent_of_the_cutover`, `quark-core/src/conformance/store/guards.rs::commit_stops_at_a_cancel_request` | |
//! | 42 | the app is deleted in mid-deploy | `people.rs::row_42_the_app_is_deleted_in_mid_deploy`, `people.rs::row_42_the_app_is_deleted_and_the_engine_dies`, `people.rs::row_42_a_stuck_deployment_is_taken_along` | |
//! | 43 | a variable is missing or cannot be read | `people.rs::row_43_a_variable_that_cannot_be` | Variables are refused when they are given. Not yet: stored secrets, so there is none to be missing or undecryptable. |
//! | 44 | two engines on one host | `people.rs::row_44_two_installations_on_one_host`, `people.rs::row_44_an_engine_is_started_twice`, `quark-local/tests/it/crashes.rs::containers_of_another_installation_are_left_alone` | Two engines are allowed, by lease and fence. Not yet: the second one of the same name refuses to start. |
//! | 45 | the log is slow or away | `people.rs::row_45_the_log_cannot_be_written`, `people.rs::row_45_the_log_is_slow` | |
//! | 46 | the notifier is down | `people.rs::row_46_nobody_takes_the_events`, `quark-core/tests/it/engine/events.rs::every_change_is_an_event_in_order_and_to_the_end` | Not yet: a notifier. What it would read is written with the change, and waits for no reader. |
//! | 47 | the image is pruned before it is used | `slots.rs::row_47_the_image_is_pruned_before_it_is_used`, `slots.rs::row_47_the_image_is_pruned_again_and_again`, `quark-core/tests/it/engine/rollback.rs::an_image_that_was_pruned_is_built_again_from_the_same_commit` | |
//! | 48 | the address is taken | `slots.rs::row_48_two_addresses_are_taken`, `slots.rs::row_48_three_addresses_are_taken`, `slots.rs::row_48_the_address_of_what_is_live_is_taken_while_it_is_dead`, `quark-docker/tests/it/running.rs::a_port_of_another_container_is_taken`, `quark-core/src/conformance/store/commits.rs::two_apps_never_hold_one_endpoint` | |
//! | 49 | somebody else answers the probe | `slots.rs::row_49_somebody_else_answers_the_probe`, `quark-core/src/conformance/container_runtime/starting.rs::what_listens_is_ours`, `quark-core/src/conformance/container_runtime/stopping.rs::stop_returns_when_the_process_has_exited`, `quark-local/tests/it/processes.rs::a_stranger_at_the_endpoint_is_named` | |

mod backup;
mod cutover;
mod deaths;
mod health;
mod people;
mod queue;
mod router;
mod runtime;
mod slots;
pub(crate) mod stage;
mod store;
mod time;
