#pragma once

#include "backends/instance/instance_driver.hpp"
#include "backends/instance/job_answer.hpp"

namespace troupe {

// The driver's values as parts of a FileJob, and its answers as the driver's values.
void fill_write(schema::FileJob::Write::Builder to, const file_write& how);
outcome<file_info> read_info(job_reply& reply);

/// `finish_write` of a file whose content went through a job's socket; any other one is complete as it is.
outcome<void> finish_upload(const unique_fd& file);

} // namespace troupe
