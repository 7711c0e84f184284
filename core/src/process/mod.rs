//! Every program that is started: argv only, never a shell; a deadline; bounded output.
