# nothing but this comment

