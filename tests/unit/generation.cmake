# SPDX-License-Identifier: Apache-2.0
talaria_test(unit_sampler SOURCES sampler_test.cpp DEPS talaria_model LABELS unit)
talaria_test(unit_ops_inference SOURCES ops_inference_test.cpp DEPS talaria_ops talaria_ref LABELS unit)
talaria_test(unit_text_stream SOURCES text_stream_test.cpp DEPS talaria_trainer LABELS unit)
talaria_test(unit_evaluation SOURCES evaluation_test.cpp DEPS talaria_trainer Boost::json LABELS unit)
