;; The two passes of resample.ts on 8-bit RGB, with 128-bit vectors: four 32-bit sums at a time.
;;
;; Weights are fixed point with 22 bits; a sum begins with one half, is shifted right by 22 and cut at 255. Every output
;; position has $taps weights (4 bytes each); those beyond its own are 0, so whatever is read for them does not count.
;; Loads may reach 15 bytes, and $taps inputs, beyond what counts; stores may reach 15 bytes beyond the output.
;;
;; Made into resample.wasm by `node packages/dataset/kernel/make.ts`; a test compares the two.
(module
  (memory (export "memory") 1)

  ;; The row pass. $rows rows of the input, $inStride bytes apart, become $rows rows of $width pixels, without gaps.
  ;; $starts: for each output pixel the byte of an input row where its first input pixel lies (4 bytes each).
  (func (export "horizontal")
    (param $in i32) (param $inStride i32) (param $rows i32) (param $out i32) (param $width i32)
    (param $starts i32) (param $weights i32) (param $taps i32)
    (local $pixels i32) (local $start i32) (local $weight i32) (local $end i32) (local $from i32) (local $sum v128)
    (loop $row
      (local.set $pixels (local.get $width))
      (local.set $start (local.get $starts))
      (local.set $weight (local.get $weights))
      (loop $pixel
        (local.set $from (i32.add (local.get $in) (i32.load (local.get $start))))
        (local.set $end (i32.add (local.get $weight) (i32.shl (local.get $taps) (i32.const 2))))
        (local.set $sum (v128.const i32x4 0x200000 0x200000 0x200000 0x200000))
        (loop $tap ;; red, green, blue and a fourth that is not used
          (local.set $sum
            (i32x4.add
              (local.get $sum)
              (i32x4.mul
                (i32x4.extend_low_i16x8_u (i16x8.extend_low_i8x16_u (v128.load32_zero (local.get $from))))
                (v128.load32_splat (local.get $weight)))))
          (local.set $from (i32.add (local.get $from) (i32.const 3)))
          (local.set $weight (i32.add (local.get $weight) (i32.const 4)))
          (br_if $tap (i32.lt_u (local.get $weight) (local.get $end))))
        (local.set $sum (i32x4.shr_s (local.get $sum) (i32.const 22)))
        (local.set $sum (i16x8.narrow_i32x4_s (local.get $sum) (local.get $sum)))
        (v128.store32_lane 0 (local.get $out) (i8x16.narrow_i16x8_u (local.get $sum) (local.get $sum)))
        (local.set $out (i32.add (local.get $out) (i32.const 3)))
        (local.set $start (i32.add (local.get $start) (i32.const 4)))
        (local.set $pixels (i32.sub (local.get $pixels) (i32.const 1)))
        (br_if $pixel (local.get $pixels)))
      (local.set $in (i32.add (local.get $in) (local.get $inStride)))
      (local.set $rows (i32.sub (local.get $rows) (i32.const 1)))
      (br_if $row (local.get $rows))))

  ;; The column pass: $height rows of $stride bytes from rows of the same length.
  ;; $starts: for each output row the byte of the input where its first input row begins (4 bytes each).
  (func (export "vertical")
    (param $in i32) (param $stride i32) (param $out i32) (param $height i32)
    (param $starts i32) (param $weights i32) (param $taps i32)
    (local $byte i32) (local $weight i32) (local $end i32) (local $from i32)
    (local $factor v128) (local $low v128) (local $high v128)
    (local $sum0 v128) (local $sum1 v128) (local $sum2 v128) (local $sum3 v128)
    (loop $row
      (local.set $end (i32.add (local.get $weights) (i32.shl (local.get $taps) (i32.const 2))))
      (local.set $byte (i32.const 0))
      (loop $bytes ;; 16 of a row at a time
        (local.set $from (i32.add (i32.add (local.get $in) (i32.load (local.get $starts))) (local.get $byte)))
        (local.set $weight (local.get $weights))
        (local.set $sum0 (v128.const i32x4 0x200000 0x200000 0x200000 0x200000))
        (local.set $sum1 (local.get $sum0))
        (local.set $sum2 (local.get $sum0))
        (local.set $sum3 (local.get $sum0))
        (loop $tap
          (local.set $factor (v128.load32_splat (local.get $weight)))
          (local.set $low (v128.load8x8_u (local.get $from)))
          (local.set $high (v128.load8x8_u offset=8 (local.get $from)))
          (local.set $sum0
            (i32x4.add (local.get $sum0)
              (i32x4.mul (i32x4.extend_low_i16x8_u (local.get $low)) (local.get $factor))))
          (local.set $sum1
            (i32x4.add (local.get $sum1)
              (i32x4.mul (i32x4.extend_high_i16x8_u (local.get $low)) (local.get $factor))))
          (local.set $sum2
            (i32x4.add (local.get $sum2)
              (i32x4.mul (i32x4.extend_low_i16x8_u (local.get $high)) (local.get $factor))))
          (local.set $sum3
            (i32x4.add (local.get $sum3)
              (i32x4.mul (i32x4.extend_high_i16x8_u (local.get $high)) (local.get $factor))))
          (local.set $from (i32.add (local.get $from) (local.get $stride)))
          (local.set $weight (i32.add (local.get $weight) (i32.const 4)))
          (br_if $tap (i32.lt_u (local.get $weight) (local.get $end))))
        (v128.store
          (i32.add (local.get $out) (local.get $byte))
          (i8x16.narrow_i16x8_u
            (i16x8.narrow_i32x4_s
              (i32x4.shr_s (local.get $sum0) (i32.const 22))
              (i32x4.shr_s (local.get $sum1) (i32.const 22)))
            (i16x8.narrow_i32x4_s
              (i32x4.shr_s (local.get $sum2) (i32.const 22))
              (i32x4.shr_s (local.get $sum3) (i32.const 22)))))
        (local.set $byte (i32.add (local.get $byte) (i32.const 16)))
        (br_if $bytes (i32.lt_u (local.get $byte) (local.get $stride))))
      (local.set $out (i32.add (local.get $out) (local.get $stride)))
      (local.set $starts (i32.add (local.get $starts) (i32.const 4)))
      (local.set $weights (local.get $end))
      (local.set $height (i32.sub (local.get $height) (i32.const 1)))
      (br_if $row (local.get $height))))
)
