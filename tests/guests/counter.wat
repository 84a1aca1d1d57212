;; A counter, written by hand against the canonical ABI, with every way to misbehave beside it.
;;
;; Healthy: `add` adds the first number of its payload; `close` ends it. Misbehaviour is asked for by command, so that the
;; same module has healthy aggregates too:
;;
;;   loop recurse bomb trap panic bad-utf8 oob giant ten-thousand spam undeclared bad-json    in `handle`
;;   hurt {"how":n}  records an event whose `apply` 1 traps, 2 loops for ever, 3 recurses for ever
;;   arm {"mode":n}  records an event after which 1 save, 2 render, 3 check, 4 the destructor traps; 5 check reports
;;                   a broken invariant; 6 save refuses; 7 restore traps; 8 restore refuses; 9 render is not JSON;
;;                   10 save and 11 render answer with 40 MiB
;;   an aggregate id that begins with `trap` traps in the constructor
;;
;; Lines of the form `;;@name` are replaced by tests, to misbehave where no command reaches.
;;
;; Memory: 512 results · 640 one event · 768 rendered state · 1024 names and tables · 3072 messages ·
;;         64 KiB aggregates, 32 bytes each · from 128 KiB arguments and large results, freed after each call.
(module
  (import "annals:aggregate/log@0.1.0" "write" (func $log (param i32 i32 i32 i32 i32)))
  (import "[export]annals:aggregate/aggregate@0.1.0" "[resource-new]instance"
    (func $resource_new (param i32) (result i32)))
  ;;@import
  (memory (export "memory") 4)
  (global $top (mut i32) (i32.const 131072))
  (global $next (mut i32) (i32.const 65536))
  (global $free (mut i32) (i32.const 0))

  ;; --- what `describe` answers -------------------------------------------------------------------------------------
  (data (i32.const 960) "{\"type\":\"object\"}")
  (data (i32.const 1024) "add")
  (data (i32.const 1040) "close")
  (data (i32.const 1056) "arm")
  (data (i32.const 1072) "hurt")
  (data (i32.const 1088) "loop")
  (data (i32.const 1104) "recurse")
  (data (i32.const 1120) "bomb")
  (data (i32.const 1136) "trap")
  (data (i32.const 1152) "panic")
  (data (i32.const 1168) "bad-utf8")
  (data (i32.const 1184) "oob")
  (data (i32.const 1200) "giant")
  (data (i32.const 1216) "ten-thousand")
  (data (i32.const 1232) "spam")
  (data (i32.const 1248) "undeclared")
  (data (i32.const 1264) "bad-json")
  (data (i32.const 1536) "added")
  (data (i32.const 1552) "closed")
  (data (i32.const 1568) "armed")
  (data (i32.const 1584) "hurt")
  (data (i32.const 1600) "counter")
  (data (i32.const 1616) "1.0.0")
  (data (i32.const 1632) "application/json")
  (data (i32.const 1648) "sdk")
  (data (i32.const 1656) "wat")
  ;; commands: name, schema
  (data (i32.const 2048) (i32
    1024 3 960 17   1040 5 960 17   1056 3 960 17   1072 4 960 17
    1088 4 960 17   1104 7 960 17   1120 4 960 17   1136 4 960 17
    1152 5 960 17   1168 8 960 17   1184 3 960 17   1200 5 960 17
    1216 12 960 17  1232 4 960 17   1248 10 960 17  1264 8 960 17))
  ;; records: type, schema version, schema
  (data (i32.const 2560) (i32
    1536 5 1 960 17   1552 6 1 960 17   1568 5 1 960 17   1584 4 1 960 17))
  ;; reads: type, schema version
  (data (i32.const 2688) (i32 1536 5 1   1552 6 1   1568 5 1   1584 4 1))
  (data (i32.const 2816) (i32
    1600 7   1616 5   1632 16   2048 16   2560 4   2688 4   1   2944 1))
  ;; attributes
  (data (i32.const 2944) (i32 1648 3 1656 3))
  ;;@data

  ;; --- messages ----------------------------------------------------------------------------------------------------
  (data (i32.const 3072) "the payload has no number")
  (data (i32.const 3136) "closed")
  (data (i32.const 3200) "the counter is closed")
  (data (i32.const 3264) "the state has the wrong size")
  (data (i32.const 3328) "as armed")
  (data (i32.const 3392) "a test panic")
  (data (i32.const 3456) "panic")
  (data (i32.const 3472) "src/lib.rs:7:9")
  (data (i32.const 3520) (i32 3456 5 3472 14))
  (data (i32.const 3584) "{\"reason\":\"closed\"}")
  (data (i32.const 3648) "spam")
  (data (i32.const 3712) "\ff\fe")
  (data (i32.const 3840) "not json")

  ;; --- memory ------------------------------------------------------------------------------------------------------
  (func $alloc (param $align i32) (param $size i32) (result i32)
    (local $at i32) (local $end i32) (local $missing i32)
    (local.set $at
      (i32.and
        (i32.add (global.get $top) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
    (local.set $end (i32.add (local.get $at) (local.get $size)))
    (local.set $missing
      (i32.sub (i32.shr_u (i32.add (local.get $end) (i32.const 65535)) (i32.const 16)) (memory.size)))
    (if (i32.gt_s (local.get $missing) (i32.const 0))
      (then (if (i32.eq (memory.grow (local.get $missing)) (i32.const -1)) (then unreachable))))
    (global.set $top (local.get $end))
    (local.get $at))
  (func (export "cabi_realloc") (param i32 i32) (param $align i32) (param $size i32) (result i32)
    (call $alloc (local.get $align) (local.get $size)))
  (func $reset (global.set $top (i32.const 131072)))
  (func $post (param i32) (call $reset))

  ;; --- small things ------------------------------------------------------------------------------------------------
  (func $equal (param $a i32) (param $b i32) (param $len i32) (result i32)
    (loop $next
      (if (i32.eqz (local.get $len)) (then (return (i32.const 1))))
      (if (i32.ne (i32.load8_u (local.get $a)) (i32.load8_u (local.get $b))) (then (return (i32.const 0))))
      (local.set $a (i32.add (local.get $a) (i32.const 1)))
      (local.set $b (i32.add (local.get $b) (i32.const 1)))
      (local.set $len (i32.sub (local.get $len) (i32.const 1)))
      (br $next))
    unreachable)
  ;; The index of a name in a table whose rows begin with pointer and length; `count` when it is not there.
  (func $find (param $table i32) (param $stride i32) (param $count i32) (param $name i32) (param $len i32)
    (result i32)
    (local $index i32) (local $row i32)
    (local.set $row (local.get $table))
    (loop $next
      (if (i32.eq (local.get $index) (local.get $count)) (then (return (local.get $count))))
      (if (i32.eq (i32.load offset=4 (local.get $row)) (local.get $len))
        (then
          (if (call $equal (i32.load (local.get $row)) (local.get $name) (local.get $len))
            (then (return (local.get $index))))))
      (local.set $row (i32.add (local.get $row) (local.get $stride)))
      (local.set $index (i32.add (local.get $index) (i32.const 1)))
      (br $next))
    unreachable)
  ;; The first run of digits; -1 when there is none.
  (func $number (param $at i32) (param $len i32) (result i64)
    (local $value i64) (local $found i32) (local $digit i32)
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $len)))
        (local.set $digit (i32.sub (i32.load8_u (local.get $at)) (i32.const 48)))
        (if (i32.lt_u (local.get $digit) (i32.const 10))
          (then
            (local.set $found (i32.const 1))
            (local.set $value
              (i64.add (i64.mul (local.get $value) (i64.const 10)) (i64.extend_i32_u (local.get $digit)))))
          (else (br_if $done (local.get $found))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (local.set $len (i32.sub (local.get $len) (i32.const 1)))
        (br $next)))
    (select (local.get $value) (i64.const -1) (local.get $found)))
  (func $spin (loop $again (br $again)))
  (func $recurse (param $depth i32) (result i32)
    (i32.add (call $recurse (i32.add (local.get $depth) (i32.const 1))) (i32.const 1)))
  ;; A result at 512 of which only the first case and one text or list matter.
  (func $answer (param $case i32) (param $at i32) (param $len i32) (result i32)
    (i32.store (i32.const 512) (local.get $case))
    (i32.store (i32.const 516) (local.get $at))
    (i32.store (i32.const 520) (local.get $len))
    (i32.const 512))

  ;; --- manifest ----------------------------------------------------------------------------------------------------
  (func (export "annals:aggregate/manifest@0.1.0#describe") (result i32)
    ;;@describe
    (i32.const 2816))

  ;; --- aggregate ---------------------------------------------------------------------------------------------------
  (func $new (result i32)
    (local $self i32)
    (if (global.get $free)
      (then
        (local.set $self (global.get $free))
        (global.set $free (i32.load (local.get $self))))
      (else
        (local.set $self (global.get $next))
        (global.set $next (i32.add (local.get $self) (i32.const 32)))
        (if (i32.ge_u (local.get $self) (i32.const 131072)) (then unreachable))))
    (memory.fill (local.get $self) (i32.const 0) (i32.const 32))
    (local.get $self))
  (func (export "annals:aggregate/aggregate@0.1.0#[constructor]instance") (param $id i32) (param $len i32)
    (result i32)
    (if (i32.ge_u (local.get $len) (i32.const 4))
      (then (if (call $equal (local.get $id) (i32.const 1136) (i32.const 4)) (then unreachable))))
    (call $reset)
    (call $resource_new (call $new)))
  (func (export "annals:aggregate/aggregate@0.1.0#[dtor]instance") (param $self i32)
    (if (i32.eq (i32.load offset=16 (local.get $self)) (i32.const 4)) (then unreachable))
    (i32.store (local.get $self) (global.get $free))
    (global.set $free (local.get $self)))

  (func $accept (param $events i32) (param $count i32) (result i32)
    (i32.store (i32.const 512) (i32.const 0))
    (i32.store (i32.const 516) (local.get $events))
    (i32.store (i32.const 520) (local.get $count))
    (i32.store (i32.const 524) (i32.const 0))
    (i32.const 512))
  (func $event (param $at i32) (param $type i32) (param $len i32) (param $payload i32) (param $bytes i32)
    (i32.store (local.get $at) (local.get $type))
    (i32.store offset=4 (local.get $at) (local.get $len))
    (i32.store offset=8 (local.get $at) (i32.const 1))
    (i32.store offset=12 (local.get $at) (local.get $payload))
    (i32.store offset=16 (local.get $at) (local.get $bytes)))
  (func $one (param $type i32) (param $len i32) (param $payload i32) (param $bytes i32) (result i32)
    (call $event (i32.const 640) (local.get $type) (local.get $len) (local.get $payload) (local.get $bytes))
    (call $accept (i32.const 640) (i32.const 1)))
  (func $malformed (result i32)
    (i32.store (i32.const 512) (i32.const 1))
    (i32.store (i32.const 516) (i32.const 2))
    (i32.store (i32.const 520) (i32.const 0))
    (i32.store (i32.const 524) (i32.const 0))
    (i32.store (i32.const 528) (i32.const 3072))
    (i32.store (i32.const 532) (i32.const 25))
    (i32.const 512))
  (func $rejected (result i32)
    (i32.store (i32.const 512) (i32.const 1))
    (i32.store (i32.const 516) (i32.const 0))
    (i32.store (i32.const 520) (i32.const 3136))
    (i32.store (i32.const 524) (i32.const 6))
    (i32.store (i32.const 528) (i32.const 3200))
    (i32.store (i32.const 532) (i32.const 21))
    (i32.store (i32.const 536) (i32.const 1))
    (i32.store (i32.const 540) (i32.const 3584))
    (i32.store (i32.const 544) (i32.const 19))
    (i32.const 512))
  ;; Ten thousand events with the command's payload.
  (func $many (param $payload i32) (param $bytes i32) (result i32)
    (local $list i32) (local $index i32)
    (local.set $list (call $alloc (i32.const 4) (i32.const 200000)))
    (loop $next
      (call $event
        (i32.add (local.get $list) (i32.mul (local.get $index) (i32.const 20)))
        (i32.const 1536) (i32.const 5) (local.get $payload) (local.get $bytes))
      (local.set $index (i32.add (local.get $index) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $index) (i32.const 10000))))
    (call $accept (local.get $list) (i32.const 10000)))
  (func $spam
    (local $index i32)
    (loop $next
      (call $log (i32.const 2) (i32.const 3648) (i32.const 4) (i32.const 0) (i32.const 0))
      (local.set $index (i32.add (local.get $index) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $index) (i32.const 1000)))))

  ;; The arguments in memory: self at 0, the context at 8, the command's name at 96 and its payload at 104.
  (func (export "annals:aggregate/aggregate@0.1.0#[method]instance.handle") (param $args i32) (result i32)
    (local $payload i32) (local $bytes i32)
    (local.set $payload (i32.load offset=104 (local.get $args)))
    (local.set $bytes (i32.load offset=108 (local.get $args)))
    (block $bad-json (block $undeclared (block $spam (block $ten-thousand (block $giant (block $oob (block $bad-utf8
    (block $panic (block $trap (block $bomb (block $recurse (block $loop (block $hurt (block $arm (block $close
    (block $add (block $unknown
      (br_table $add $close $arm $hurt $loop $recurse $bomb $trap $panic $bad-utf8 $oob $giant $ten-thousand $spam
        $undeclared $bad-json $unknown
        (call $find (i32.const 2048) (i32.const 16) (i32.const 16)
          (i32.load offset=96 (local.get $args)) (i32.load offset=100 (local.get $args)))))
    (; unknown ;)
      (return (call $answer (i32.const 1) (i32.const 1) (i32.const 0))))
    (; add ;)
      (if (i32.load offset=20 (i32.load (local.get $args))) (then (return (call $rejected))))
      (if (i64.eq (call $number (local.get $payload) (local.get $bytes)) (i64.const -1))
        (then (return (call $malformed))))
      (return (call $one (i32.const 1536) (i32.const 5) (local.get $payload) (local.get $bytes))))
    (; close ;)
      (return (call $one (i32.const 1552) (i32.const 6) (local.get $payload) (local.get $bytes))))
    (; arm ;)
      (return (call $one (i32.const 1568) (i32.const 5) (local.get $payload) (local.get $bytes))))
    (; hurt ;)
      (return (call $one (i32.const 1584) (i32.const 4) (local.get $payload) (local.get $bytes))))
    (; loop ;)
      (call $spin) unreachable)
    (; recurse ;)
      (return (call $recurse (i32.const 0))))
    (; bomb ;)
      (loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
      unreachable)
    (; trap ;)
      unreachable)
    (; panic ;)
      (call $log (i32.const 4) (i32.const 3392) (i32.const 12) (i32.const 3520) (i32.const 1))
      unreachable)
    (; bad-utf8 ;)
      (return (call $one (i32.const 3712) (i32.const 2) (local.get $payload) (local.get $bytes))))
    (; oob ;)
      (return (call $accept (i32.const 0xfffff000) (i32.const 100))))
    (; giant ;)
      (return (call $one (i32.const 1536) (i32.const 5)
        (call $alloc (i32.const 4) (i32.const 0x2000000)) (i32.const 0x2000000))))
    (; ten-thousand ;)
      (return (call $many (local.get $payload) (local.get $bytes))))
    (; spam ;)
      (call $spam)
      (return (call $accept (i32.const 0) (i32.const 0))))
    (; undeclared ;)
      (return (call $one (i32.const 1248) (i32.const 10) (local.get $payload) (local.get $bytes))))
    (; bad-json ;)
      (call $one (i32.const 1536) (i32.const 5) (i32.const 3840) (i32.const 8)))

  ;; The state: sum at 0, events at 8, mode at 16, closed at 20.
  (func $unapplied (param $event i32) (param $problem i32) (param $text i32) (param $len i32) (result i32)
    (i32.store (i32.const 512) (i32.const 1))
    (i64.store (i32.const 520) (i64.load (local.get $event)))
    (i32.store (i32.const 528) (local.get $problem))
    (i32.store (i32.const 532) (local.get $text))
    (i32.store (i32.const 536) (local.get $len))
    (i32.const 512))
  (func $hurt (param $how i64)
    (if (i64.eq (local.get $how) (i64.const 1)) (then unreachable))
    (if (i64.eq (local.get $how) (i64.const 2)) (then (call $spin)))
    (if (i64.eq (local.get $how) (i64.const 3)) (then (drop (call $recurse (i32.const 0))))))
  (func (export "annals:aggregate/aggregate@0.1.0#[method]instance.apply")
    (param $self i32) (param $event i32) (param $count i32) (result i32)
    (local $number i64)
    (i64.store (i32.const 512) (i64.const 0))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $number
          (call $number (i32.load offset=32 (local.get $event)) (i32.load offset=36 (local.get $event))))
        (block $applied
          (block $unknown (block $hurt (block $armed (block $closed (block $added
            (br_table $added $closed $armed $hurt $unknown
              (call $find (i32.const 2560) (i32.const 20) (i32.const 4)
                (i32.load offset=8 (local.get $event)) (i32.load offset=12 (local.get $event)))))
          (; added ;)
            (if (i32.load offset=20 (local.get $self))
              (then (return (call $unapplied (local.get $event) (i32.const 2) (i32.const 3200) (i32.const 21)))))
            (if (i64.eq (local.get $number) (i64.const -1))
              (then (return (call $unapplied (local.get $event) (i32.const 1) (i32.const 3072) (i32.const 25)))))
            ;;@added
            (i64.store (local.get $self) (i64.add (i64.load (local.get $self)) (local.get $number)))
            (br $applied))
          (; closed ;)
            (i32.store offset=20 (local.get $self) (i32.const 1))
            (br $applied))
          (; armed ;)
            (i32.store offset=16 (local.get $self) (i32.wrap_i64 (local.get $number)))
            (br $applied))
          (; hurt ;)
            (call $hurt (local.get $number))
            (br $applied))
          (; unknown ;)
            (return (call $unapplied (local.get $event) (i32.const 0) (i32.const 0) (i32.const 0))))
        (i64.store offset=8 (local.get $self) (i64.add (i64.load offset=8 (local.get $self)) (i64.const 1)))
        (local.set $event (i32.add (local.get $event) (i32.const 40)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next)))
    (i32.const 512))
  (export "cabi_post_annals:aggregate/aggregate@0.1.0#[method]instance.handle" (func $post))
  (export "cabi_post_annals:aggregate/aggregate@0.1.0#[method]instance.apply" (func $post))

  ;; --- snapshots ---------------------------------------------------------------------------------------------------
  (func $is (param $self i32) (param $mode i32) (result i32)
    (i32.eq (i32.load offset=16 (local.get $self)) (local.get $mode)))
  (func (export "annals:aggregate/snapshots@0.1.0#save") (param $self i32) (result i32)
    (if (call $is (local.get $self) (i32.const 1)) (then unreachable))
    (if (call $is (local.get $self) (i32.const 6))
      (then (return (call $answer (i32.const 1) (i32.const 3328) (i32.const 8)))))
    (if (call $is (local.get $self) (i32.const 10))
      (then (return (call $answer (i32.const 0)
        (call $alloc (i32.const 4) (i32.const 0x2800000)) (i32.const 0x2800000)))))
    (call $answer (i32.const 0) (local.get $self) (i32.const 24)))
  (func (export "annals:aggregate/snapshots@0.1.0#restore")
    (param i32) (param i32) (param $state i32) (param $len i32) (result i32)
    (local $self i32)
    (if (i32.ne (local.get $len) (i32.const 24))
      (then (return (call $answer (i32.const 1) (i32.const 3264) (i32.const 28)))))
    (if (call $is (local.get $state) (i32.const 7)) (then unreachable))
    (if (call $is (local.get $state) (i32.const 8))
      (then (return (call $answer (i32.const 1) (i32.const 3328) (i32.const 8)))))
    (local.set $self (call $new))
    (memory.copy (local.get $self) (local.get $state) (i32.const 24))
    (call $answer (i32.const 0) (call $resource_new (local.get $self)) (i32.const 0)))
  (export "cabi_post_annals:aggregate/snapshots@0.1.0#save" (func $post))
  (export "cabi_post_annals:aggregate/snapshots@0.1.0#restore" (func $post))

  ;; --- view --------------------------------------------------------------------------------------------------------
  ;; `{"sum":n}`, written from its end towards the beginning.
  (data (i32.const 3904) "{\"sum\":")
  (func $some (param $at i32) (param $len i32) (result i32)
    (i32.store (i32.const 512) (i32.const 0))
    (i32.store (i32.const 516) (i32.const 1))
    (i32.store (i32.const 520) (local.get $at))
    (i32.store (i32.const 524) (local.get $len))
    (i32.const 512))
  (func (export "annals:aggregate/view@0.1.0#render") (param $self i32) (result i32)
    (local $at i32) (local $sum i64)
    (if (call $is (local.get $self) (i32.const 2)) (then unreachable))
    (if (call $is (local.get $self) (i32.const 9))
      (then (return (call $some (i32.const 3840) (i32.const 8)))))
    (if (call $is (local.get $self) (i32.const 11))
      (then (return (call $some (call $alloc (i32.const 4) (i32.const 0x2800000)) (i32.const 0x2800000)))))
    (if (i32.load offset=20 (local.get $self))
      (then (return (call $answer (i32.const 0) (i32.const 0) (i32.const 0)))))
    (local.set $sum (i64.load (local.get $self)))
    (local.set $at (i32.const 831))
    (i32.store8 (local.get $at) (i32.const 125))
    (loop $digit
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at)
        (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $sum) (i64.const 10)))))
      (local.set $sum (i64.div_u (local.get $sum) (i64.const 10)))
      (br_if $digit (i64.ne (local.get $sum) (i64.const 0))))
    (local.set $at (i32.sub (local.get $at) (i32.const 7)))
    (memory.copy (local.get $at) (i32.const 3904) (i32.const 7))
    (call $some (local.get $at) (i32.sub (i32.const 832) (local.get $at))))
  (export "cabi_post_annals:aggregate/view@0.1.0#render" (func $post))

  ;; --- invariants --------------------------------------------------------------------------------------------------
  (func (export "annals:aggregate/invariants@0.1.0#check") (param $self i32) (result i32)
    (if (call $is (local.get $self) (i32.const 3)) (then unreachable))
    (i32.store (i32.const 512) (i32.const 640))
    (i32.store (i32.const 516) (call $is (local.get $self) (i32.const 5)))
    (i32.store (i32.const 640) (i32.const 3328))
    (i32.store (i32.const 644) (i32.const 8))
    (i32.const 512))
  (export "cabi_post_annals:aggregate/invariants@0.1.0#check" (func $post))

  ;;@start
)
